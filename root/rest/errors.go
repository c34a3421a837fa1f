package rest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/control"
)

// errNoJSON is a body that cannot be read at all; wrong values in a readable
// one are errs.Invalid.
var errNoJSON = fmt.Errorf("the body is no JSON: %w", errs.Invalid)

// inClass makes an error of a class.
func inClass(class error, format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, class)...)
}

// statusOf is the only mapping from error classes to HTTP.
func statusOf(err error) int {
	var tooLarge *http.MaxBytesError
	var throttled auth.Throttled
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded): // the body did not come to its end
		return http.StatusRequestTimeout
	case errors.As(err, &throttled):
		return http.StatusTooManyRequests
	case errors.Is(err, errNoJSON), errors.Is(err, auth.BadResetToken):
		return http.StatusBadRequest
	case errors.Is(err, errs.Invalid):
		return http.StatusUnprocessableEntity
	case errors.Is(err, errs.NotFound):
		return http.StatusNotFound
	case errors.Is(err, errs.Conflict):
		return http.StatusConflict
	case errors.Is(err, errs.Unauthenticated):
		return http.StatusUnauthorized
	case errors.Is(err, errs.Forbidden):
		return http.StatusForbidden
	case errors.Is(err, errs.Exhausted):
		return http.StatusInsufficientStorage
	case errors.Is(err, errs.Unavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// fail answers an error and ends the request.
func (a *api) fail(c *gin.Context, err error) {
	status := statusOf(err)
	message := plain(err)
	var throttled auth.Throttled
	switch {
	case errors.As(err, &throttled):
		c.Header("Retry-After", strconv.Itoa(throttled.Seconds()))
	case status == http.StatusServiceUnavailable:
		c.Header("Retry-After", "5")
	case status == http.StatusUnauthorized:
		c.Header("WWW-Authenticate", `Bearer realm="oakestra"`)
	case status == http.StatusInternalServerError:
		a.Logger.Error("request failed", "error", err, "request", idOf(c), "path", c.Request.URL.Path)
		message = "internal failure; the log of the system manager has more under request " + idOf(c)
	}
	a.answerError(c, status, message, problemsOf(err))
}

// plain is the text of an error without the name of its class at the end: the
// status says the same. "not found" stays: before it most errors only name what
// was looked for.
func plain(err error) string {
	text := err.Error()
	for _, class := range []error{
		errs.Invalid, errs.Conflict, errs.Unauthenticated, errs.Forbidden, errs.Unavailable, errs.Exhausted, errs.Internal,
	} {
		if cut, found := strings.CutSuffix(text, ": "+class.Error()); found && errors.Is(err, class) {
			return cut
		}
	}
	return text
}

func (a *api) answerError(c *gin.Context, status int, message string, problems []wire.Problem) {
	c.Abort()
	c.PureJSON(status, wire.Error{
		Code:      status,
		Status:    http.StatusText(status),
		Message:   message,
		Errors:    problems,
		RequestID: idOf(c),
	})
}

// problemsOf finds what is known of place and value.
func problemsOf(err error) []wire.Problem {
	var list errs.Problems
	var one control.Located
	switch {
	case errors.As(err, &list):
	case errors.As(err, &one):
		list = errs.Problems{one.Problem}
	}
	var out []wire.Problem
	for _, p := range list {
		out = append(out, wire.Problem{Path: p.Path, Value: p.Value, Message: p.Message})
	}
	return out
}
