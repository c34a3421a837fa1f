package rest

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"oakestra/pkg/errs"
)

// Lists are plain arrays, as old clients want them. ?limit= cuts them into
// pages: the header X-Next-Cursor holds what ?cursor= takes for the next one,
// and Link its whole address. ?name= and ?status= filter.

const (
	headerCursor = "X-Next-Cursor"
	headerLink   = "Link"
	maxLimit     = 1000
	maxQuery     = 200 // characters of a filter or a cursor
)

// entry is what a list is ordered and filtered by. Lists are in the order of
// key.
type entry struct {
	key    string
	names  []string
	status string
}

// query is what was asked for.
type query struct {
	limit        int // 0: everything
	after        string
	name, status string // lower case
}

// readQuery checks the four parameters and leaves others alone. What is no list
// uses the limit only.
func readQuery(v url.Values) (query, error) {
	q := query{name: strings.ToLower(v.Get("name")), status: strings.ToLower(v.Get("status"))}
	var wrong errs.Problems
	bad := func(name, why string) {
		value := v.Get(name)
		wrong = append(wrong, errs.Problem{Path: name, Value: strings.ToValidUTF8(value[:min(len(value), maxQuery)], "?"), Message: why})
	}
	if v.Has("limit") {
		n, err := strconv.Atoi(v.Get("limit"))
		if err != nil || n < 1 || n > maxLimit {
			bad("limit", "want a number from 1 to "+strconv.Itoa(maxLimit))
		}
		q.limit = n
	}
	if c := v.Get("cursor"); c != "" {
		key, err := base64.RawURLEncoding.DecodeString(c)
		if err != nil || len(key) > maxQuery {
			bad("cursor", "want what "+headerCursor+" of the page before said")
		}
		q.after = string(key)
	}
	for _, name := range []string{"name", "status"} {
		if len(v.Get(name)) > maxQuery {
			bad(name, "is longer than "+strconv.Itoa(maxQuery)+" characters")
		}
	}
	return q, wrong.Err()
}

func (q query) matches(e entry) bool {
	if q.status != "" && strings.ToLower(e.status) != q.status {
		return false
	}
	return q.name == "" || slices.ContainsFunc(e.names, func(n string) bool { return strings.Contains(strings.ToLower(n), q.name) })
}

// page picks what was asked for out of a list; next is the cursor of the page
// that follows, "" after the last.
func page[T any](q query, list []T, of func(T) entry) (out []T, next string) {
	last := ""
	for _, v := range list {
		e := of(v)
		if q.after != "" && e.key <= q.after || !q.matches(e) {
			continue
		}
		if q.limit > 0 && len(out) == q.limit {
			return out, base64.RawURLEncoding.EncodeToString([]byte(last))
		}
		out, last = append(out, v), e.key
	}
	return out, ""
}

// paged answers a page in the headers and hands its values back.
func paged[T any](c *gin.Context, list []T, of func(T) entry) ([]T, error) {
	q, err := readQuery(c.Request.URL.Query())
	if err != nil {
		return nil, err
	}
	out, next := page(q, list, of)
	if next != "" {
		v := c.Request.URL.Query()
		v.Set("cursor", next)
		c.Header(headerCursor, next)
		c.Header(headerLink, "<"+c.Request.URL.EscapedPath()+"?"+v.Encode()+`>; rel="next"`)
	}
	return out, nil
}
