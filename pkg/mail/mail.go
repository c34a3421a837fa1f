package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/mail"
	"net/smtp"
	"strconv"
	"time"

	"oakestra/pkg/errs"
)

// Ports with a meaning: 465 speaks TLS from the first byte, 587 is where
// programs hand mail in.
const (
	portTLS    = "465"
	portSubmit = "587"
)

// timeout bounds a whole exchange when the context does not.
const timeout = time.Minute

// Server is where mail is handed in. The zero value is none.
type Server struct {
	Host, Port string // Port "" means 587
	User       string // "" means no login
	Password   string
	From       string
	// Roots replaces the system's certificate authorities, for tests.
	Roots *tls.Config
}

// String hides the password.
func (s Server) String() string { return s.User + "@" + net.JoinHostPort(s.Host, s.port()) }

// GoString hides the password, too.
func (s Server) GoString() string { return s.String() }

func (s Server) port() string {
	if s.Port == "" {
		return portSubmit
	}
	return s.Port
}

// Validate lists every mistake; a Server without a host has none.
func (s Server) Validate() error {
	if s.Host == "" {
		return nil
	}
	var p errs.Problems
	if n, err := strconv.ParseUint(s.port(), 10, 16); err != nil || n == 0 {
		p = append(p, errs.Problem{Path: "SMTP_PORT", Value: s.Port, Message: "must be a port number"})
	}
	if _, err := mail.ParseAddress(s.From); err != nil {
		p = append(p, errs.Problem{Path: "SMTP_FROM", Value: s.From, Message: "must be an address such as oakestra@example.org"})
	}
	if s.User == "" && s.Password != "" {
		p = append(p, errs.Problem{Path: "SMTP_USER", Message: "is missing: there is a password"})
	}
	return p.Err()
}

// Send delivers one text. Errors: Invalid for an address, Unavailable for
// everything that the server or the network did.
func (s Server) Send(ctx context.Context, to, subject, text string) error {
	from, err := mail.ParseAddress(s.From)
	if err != nil {
		return fmt.Errorf("sender %q: %w", s.From, errors.Join(errs.Invalid, err))
	}
	rcpt, err := mail.ParseAddress(to)
	if err != nil {
		return fmt.Errorf("recipient %q: %w", to, errors.Join(errs.Invalid, err))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.exchange(ctx, from, rcpt, compose(from, rcpt, subject, text, time.Now())); err != nil {
		return fmt.Errorf("mail server %s: %w", net.JoinHostPort(s.Host, s.port()), errors.Join(errs.Unavailable, err))
	}
	return nil
}

func (s Server) exchange(ctx context.Context, from, to *mail.Address, message []byte) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(s.Host, s.port()))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // wakes what waits
	defer stop()
	if s.port() == portTLS {
		conn = tls.Client(conn, s.tls())
	}
	c, err := smtp.NewClient(conn, s.Host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // after Quit there is nothing left to close
	if err := s.secure(c); err != nil {
		return err
	}
	if err := c.Mail(from.Address); err != nil {
		return err
	}
	if err := c.Rcpt(to.Address); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// secure takes TLS when it is offered and logs in; net/smtp refuses to send a
// password in the clear to anything but this machine.
func (s Server) secure(c *smtp.Client) error {
	if offered, _ := c.Extension("STARTTLS"); offered && s.port() != portTLS {
		if err := c.StartTLS(s.tls()); err != nil {
			return err
		}
	}
	if s.User == "" {
		return nil
	}
	return c.Auth(smtp.PlainAuth("", s.User, s.Password, s.Host))
}

func (s Server) tls() *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.Roots != nil {
		cfg = s.Roots.Clone()
	}
	cfg.ServerName = s.Host
	return cfg
}

// compose writes the message; the text goes in base64, so that no line of it
// can be mistaken for SMTP or be too long.
func compose(from, to *mail.Address, subject, text string, at time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nAuto-Submitted: auto-generated\r\n",
		from, to, mime.QEncoding.Encode("utf-8", subject), at.UTC().Format(time.RFC1123Z))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	coded := base64.StdEncoding.EncodeToString([]byte(text))
	for len(coded) > 0 {
		n := min(76, len(coded))
		b.WriteString(coded[:n] + "\r\n")
		coded = coded[n:]
	}
	return b.Bytes()
}
