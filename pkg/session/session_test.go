package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"oakestra/pkg/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var frames = []Frame{
	{Kind: Ready}, {Kind: Stdin, Data: []byte("ls\n")}, {Kind: Stdin, Data: []byte{}}, {Kind: Stdout, Data: []byte{0, 255, 10}}, {Kind: Stderr, Data: []byte("no")},
	{Kind: Resize, Columns: 80, Rows: 24}, {Kind: StdinClosed}, {Kind: End, Exit: 3}, {Kind: End, Class: "conflict", Message: "it \"ended\""},
}

func TestAFrameIsTheSameAfterItsWay(t *testing.T) {
	for _, f := range frames {
		got, err := Decode(f.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(f, got); d != "" {
			t.Errorf("sent - got +\n%s", d)
		}
	}
	for _, b := range []string{"", "\x03{", "\x04[]", "\x07x", "\xfe"} {
		if f, err := Decode([]byte(b)); !errors.Is(err, errs.Invalid) {
			t.Errorf("%q is %+v, %v", b, f, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range frames {
		f.Add(v.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(v.Encode())
		if err != nil || v.Kind != again.Kind || !bytes.Equal(v.Data, again.Data) || v.Exit != again.Exit || v.Columns != again.Columns {
			t.Errorf("%+v, then %+v %v", v, again, err)
		}
	})
}

func TestAnErrorKeepsItsClass(t *testing.T) {
	for _, class := range []error{errs.NotFound, errs.Invalid, errs.Conflict, errs.Unavailable, errs.Internal} {
		sent := EndWith(fmt.Errorf("worker w1: %w", class))
		f, err := Decode(sent.Encode())
		if err != nil || f.Message != "worker w1" || !errors.Is(f.Err(), class) {
			t.Errorf("%v: %+v, %v, %v", class, f, f.Err(), err)
		}
	}
	if err := EndWith(errors.New("boom")).Err(); !errors.Is(err, errs.Internal) {
		t.Error(err)
	}
	if err := (Frame{Kind: End, Exit: 1}).Err(); err != nil {
		t.Error(err)
	}
	if err := (Frame{Kind: End, Class: "of tomorrow", Message: "x"}).Err(); !errors.Is(err, errs.Unavailable) {
		t.Error(err)
	}
}

// side is one end of a pipe of frames.
type side struct{ in, out chan Frame }

func pipe() (a, b side) {
	x, y := make(chan Frame), make(chan Frame)
	return side{x, y}, side{y, x}
}

func (e side) Send(ctx context.Context, f Frame) error {
	select {
	case e.out <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e side) Recv(ctx context.Context) (Frame, error) {
	select {
	case f, ok := <-e.in:
		if !ok {
			return f, io.ErrUnexpectedEOF
		}
		return f, nil
	case <-ctx.Done():
		return Frame{}, ctx.Err()
	}
}

func TestARelayEndsWithTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		user, up := pipe()
		down, worker := pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Relay(ctx, up, down) }()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(user.Send(ctx, Frame{Kind: Stdin, Data: []byte("a")}))
		if f, err := worker.Recv(ctx); err != nil || string(f.Data) != "a" {
			t.Fatal(f, err)
		}
		must(worker.Send(ctx, Frame{Kind: Stdout, Data: []byte("b")}))
		synctest.Wait()
		held := make(chan error, 1)
		go func() { held <- worker.Send(ctx, Frame{Kind: End, Exit: 4}) }()
		synctest.Wait()
		select {
		case err := <-held:
			t.Fatal(err, "the relay took a frame while the one before still waits: it would grow")
		default:
		}
		if f, err := user.Recv(ctx); err != nil || string(f.Data) != "b" {
			t.Fatal(f, err)
		}
		must(<-held)
		if f, err := user.Recv(ctx); err != nil || f.Kind != End || f.Exit != 4 {
			t.Fatal(f, err)
		}
		must(<-done)
		cancel()
	})
}

func TestARelaySaysWhoIsGone(t *testing.T) {
	for _, upGone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			_, up := pipe()
			down, _ := pipe()
			if upGone {
				close(up.in)
			} else {
				close(down.in)
			}
			if err := Relay(t.Context(), up, down); err == nil || UpGone(err) != upGone {
				t.Errorf("up gone %v: %v", upGone, err)
			}
		})
	}
}

func TestASessionOverAWebSocket(t *testing.T) {
	big := bytes.Repeat([]byte("x"), Chunk)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"it has ended"}`)
			return
		}
		s, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		for {
			f, err := s.Recv(r.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if f.Kind == StdinClosed {
				break
			}
			if err := s.Send(r.Context(), Frame{Kind: Stdout, Data: f.Data}); err != nil {
				t.Error(err)
			}
		}
		_ = s.Send(r.Context(), Frame{Kind: End, Exit: 2})
		s.Finish()
	}))
	defer server.Close()
	url := "ws" + strings.TrimPrefix(server.URL, "http")
	s, err := Dial(t.Context(), url, nil, server.Client())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := s.Send(t.Context(), Frame{Kind: Stdin, Data: big}); err != nil {
			t.Fatal(err)
		}
		if f, err := s.Recv(t.Context()); err != nil || f.Kind != Stdout || !bytes.Equal(f.Data, big) {
			t.Fatal(f.Kind, len(f.Data), err)
		}
	}
	if err := s.Send(t.Context(), Frame{Kind: StdinClosed}); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Recv(t.Context()); err != nil || f.Kind != End || f.Exit != 2 {
		t.Fatal(f, err)
	}
	if f, err := s.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(f, err)
	}
	s.Close()
	_, err = Dial(t.Context(), url+"/no", nil, server.Client())
	var refused *Refused
	if !errors.As(err, &refused) || refused.Status != 409 || refused.Message != "it has ended" {
		t.Error(err)
	}
	server.Close()
	if _, err := Dial(t.Context(), url, nil, server.Client()); !errors.Is(err, errs.Unavailable) {
		t.Error(err)
	}
	if id, other := NewID(), NewID(); len(id) != 32 || id == other {
		t.Errorf("%q and %q", id, other)
	}
}
