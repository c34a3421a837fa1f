package session

import (
	"encoding/json"
	"errors"
	"fmt"

	"oakestra/pkg/errs"
)

// Kind says what a frame holds; it is the first byte of a message.
type Kind byte

// The kinds.
const (
	Stdin       Kind = 0
	Stdout      Kind = 1 // and the output of a log, and of a terminal
	Stderr      Kind = 2
	End         Kind = 3 // Exit, Class and Message; the last one
	Resize      Kind = 4 // Columns and Rows
	Ready       Kind = 5 // the log is open, the command runs
	StdinClosed Kind = 255
)

// Subprotocol names this form of messages in the WebSocket handshake.
const Subprotocol = "session.oakestra.v1"

// Chunk is how many bytes of output or input one frame holds at most.
const Chunk = 16 << 10

// Frame is one piece of a session.
type Frame struct {
	Kind          Kind
	Data          []byte // of Stdin, Stdout, Stderr
	Columns, Rows uint32 // of Resize
	Exit          int32  // of End: the command's exit code
	Class         string // of End: the class of the error, see Err
	Message       string // of End: what went wrong, "" for nothing
}

// classes by their names, which are what a frame carries.
var classes = []error{errs.NotFound, errs.Invalid, errs.Conflict, errs.Forbidden, errs.Unavailable, errs.Exhausted, errs.Internal}

// EndWith is the last frame of a session that failed.
func EndWith(err error) Frame {
	f := Frame{Kind: End, Class: errs.Internal.Error(), Message: err.Error()}
	for _, c := range classes {
		if errors.Is(err, c) {
			f.Class = c.Error()
			break
		}
	}
	if cut := len(f.Message) - len(": "+f.Class); cut > 0 && f.Message[cut:] == ": "+f.Class {
		f.Message = f.Message[:cut]
	}
	return f
}

// Err is the error of an End, nil when the session ended as it should.
func (f Frame) Err() error {
	if f.Message == "" {
		return nil
	}
	for _, c := range classes {
		if c.Error() == f.Class {
			return fmt.Errorf("%s: %w", f.Message, c)
		}
	}
	return fmt.Errorf("%s: %w", f.Message, errs.Unavailable) // of a newer version
}

type size struct {
	Columns uint32 `json:"columns"`
	Rows    uint32 `json:"rows"`
}

type end struct {
	Exit    int32  `json:"exit_code"`
	Class   string `json:"error_class,omitempty"`
	Message string `json:"message,omitempty"`
}

// Encode is the frame as one message.
func (f Frame) Encode() []byte {
	var rest []byte
	switch f.Kind {
	case Stdin, Stdout, Stderr:
		rest = f.Data
	case Resize:
		rest, _ = json.Marshal(size{f.Columns, f.Rows}) // numbers always can
	case End:
		rest, _ = json.Marshal(end{f.Exit, f.Class, f.Message})
	case Ready, StdinClosed:
	}
	return append([]byte{byte(f.Kind)}, rest...)
}

// Decode reads a message. Error: errs.Invalid.
func Decode(b []byte) (Frame, error) {
	if len(b) == 0 {
		return Frame{}, fmt.Errorf("a message of a session has no first byte: %w", errs.Invalid)
	}
	f, rest := Frame{Kind: Kind(b[0])}, b[1:]
	switch f.Kind {
	case Stdin, Stdout, Stderr:
		f.Data = rest
	case Resize:
		var s size
		if err := json.Unmarshal(rest, &s); err != nil {
			return f, fmt.Errorf("size of a terminal: %w: %w", err, errs.Invalid)
		}
		f.Columns, f.Rows = s.Columns, s.Rows
	case End:
		var e end
		if err := json.Unmarshal(rest, &e); err != nil {
			return f, fmt.Errorf("end of a session: %w: %w", err, errs.Invalid)
		}
		f.Exit, f.Class, f.Message = e.Exit, e.Class, e.Message
	case Ready, StdinClosed:
	default:
		return f, fmt.Errorf("a message of a session begins with %d: %w", b[0], errs.Invalid)
	}
	return f, nil
}
