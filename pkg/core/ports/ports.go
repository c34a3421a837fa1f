package ports

import (
	"fmt"
	"strconv"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// MaxPorts bounds one service's list.
const MaxPorts = 256

// Parse reads "host:container[/protocol]" or "port[/protocol]" pieces that are
// separated by ";" or ",". Blanks are ignored, the protocol is tcp unless it
// says udp. The error is an errs.Problems whose values are the bad pieces; the
// paths are left to the caller.
func Parse(text string) ([]model.Port, error) {
	var list []model.Port
	var problems errs.Problems
	bad := func(piece, message string) {
		problems = append(problems, errs.Problem{Value: piece, Message: message})
	}
	seen := map[string]string{}
	pieces := strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == ',' })
	for _, raw := range pieces {
		piece := strings.TrimSpace(raw)
		if piece == "" {
			continue
		}
		p, err := parseOne(piece)
		if err != nil {
			bad(piece, err.Error())
			continue
		}
		key := fmt.Sprintf("%d/%s", p.Host, p.Protocol)
		if first, twice := seen[key]; twice {
			bad(piece, fmt.Sprintf("host port %s is published twice, first by %s", key, first))
			continue
		}
		seen[key] = piece
		list = append(list, p)
	}
	if len(list) > MaxPorts {
		bad(strconv.Itoa(len(list)), fmt.Sprintf("at most %d ports", MaxPorts))
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return list, nil
}

func parseOne(piece string) (model.Port, error) {
	numbers, protocol, hasProtocol := strings.Cut(piece, "/")
	p := model.Port{Protocol: model.TCP}
	if hasProtocol {
		switch strings.ToLower(strings.TrimSpace(protocol)) {
		case "tcp":
		case "udp":
			p.Protocol = model.UDP
		default:
			return p, fmt.Errorf("protocol must be tcp or udp, not %q", protocol)
		}
	}
	hostText, containerText, two := strings.Cut(numbers, ":")
	if !two {
		containerText = hostText
	}
	var err error
	if p.Host, err = number(hostText); err != nil {
		return p, fmt.Errorf("host port: %w", err)
	}
	if p.Container, err = number(containerText); err != nil {
		return p, fmt.Errorf("container port: %w", err)
	}
	return p, nil
}

func number(text string) (uint16, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port number from 1 to 65535", text)
	}
	return uint16(n), nil
}

// Format writes ports so that Parse reads the same list.
func Format(list []model.Port) string {
	pieces := make([]string, len(list))
	for i, p := range list {
		pieces[i] = fmt.Sprintf("%d:%d/%s", p.Host, p.Container, p.Protocol)
	}
	return strings.Join(pieces, ";")
}
