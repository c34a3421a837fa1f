package mail

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/errs"
)

// server speaks as much SMTP as one mail needs and returns what it heard.
type server struct {
	ln    net.Listener
	cert  *tls.Certificate // nil: no STARTTLS
	heard chan string
}

func newServer(t *testing.T, cert *tls.Certificate) *server {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	s := &server{ln: ln, cert: cert, heard: make(chan string, 1)}
	go s.serve()
	return s
}

func (s *server) serve() {
	conn, err := s.ln.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	var heard strings.Builder
	defer func() { s.heard <- heard.String() }()
	r := bufio.NewReader(conn)
	say := func(line string) { fmt.Fprint(conn, line+"\r\n") }
	say("220 test")
	secure, data := false, false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		heard.WriteString(line)
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case data && line == ".\r\n":
			data = false
			say("250 ok")
		case data:
		case verb == "EHLO" && s.cert != nil && !secure:
			say("250-test\r\n250 STARTTLS")
		case verb == "EHLO":
			say("250-test\r\n250 AUTH PLAIN")
		case verb == "STARTTLS":
			say("220 go on")
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.cert}, MinVersion: tls.VersionTLS12})
			r, secure = bufio.NewReader(conn), true
			heard.WriteString("(secure)\n")
		case verb == "AUTH":
			say("235 ok")
		case verb == "DATA":
			data = true
			say("354 go on")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (s *server) settings() Server {
	_, port, _ := net.SplitHostPort(s.ln.Addr().String())
	return Server{Host: "127.0.0.1", Port: port, From: "Oakestra <oak@example.org>"}
}

func certificate(t *testing.T) (*tls.Certificate, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func TestSend(t *testing.T) {
	s := newServer(t, nil)
	text := "first\n.\nQUIT\n" + strings.Repeat("long ", 500) + "\numlaut ä\n"
	if err := s.settings().Send(t.Context(), "ann@example.org", "hello\r\nBcc: eve@example.org", text); err != nil {
		t.Fatal(err)
	}
	heard := <-s.heard
	head, body, _ := strings.Cut(heard[strings.Index(heard, "DATA"):], "\r\n\r\n")
	for _, want := range []string{"MAIL FROM:<oak@example.org>", "RCPT TO:<ann@example.org>", "Subject: =?utf-8?q?hello=0D=0ABcc"} {
		if !strings.Contains(heard, want) {
			t.Errorf("no %q in %s", want, heard)
		}
	}
	if strings.Contains(head, "\nBcc:") {
		t.Errorf("a header was injected: %s", head)
	}
	coded, _, _ := strings.Cut(body, "\r\n.\r\n")
	got, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(coded, "\r\n", ""))
	if err != nil || string(got) != text {
		t.Errorf("text %q, %v", got, err)
	}
}

func TestThePasswordGoesThroughTLS(t *testing.T) {
	cert, roots := certificate(t)
	s := newServer(t, cert)
	m := s.settings()
	m.User, m.Password, m.Roots = "oak", "hunter2", roots
	if err := m.Send(t.Context(), "ann@example.org", "hello", "x"); err != nil {
		t.Fatal(err)
	}
	heard := <-s.heard
	if at := strings.Index(heard, "AUTH PLAIN"); at < 0 || at < strings.Index(heard, "(secure)") {
		t.Errorf("heard %s", heard)
	}
}

func TestAnUnknownCertificateIsRefused(t *testing.T) {
	cert, _ := certificate(t)
	s := newServer(t, cert)
	if err := s.settings().Send(t.Context(), "ann@example.org", "hello", "secret"); !errors.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	if heard := <-s.heard; strings.Contains(heard, "MAIL") {
		t.Errorf("heard %s", heard)
	}
}

func TestSendRefusesAddressesThatAreNone(t *testing.T) {
	m := Server{Host: "127.0.0.1", Port: "1", From: "oak@example.org"}
	for _, to := range []string{"", "ann", "ann@example.org\r\nRCPT TO:<eve@example.org>"} {
		if err := m.Send(t.Context(), to, "hello", "x"); !errors.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if err := m.Send(t.Context(), "ann@example.org", "hello", "x"); !errors.Is(err, errs.Unavailable) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		s    Server
		want []string
	}{
		"none":   {Server{Port: "x"}, nil},
		"good":   {Server{Host: "h", From: "a@b.c"}, nil},
		"wrong":  {Server{Host: "h", Port: "0", From: "a"}, []string{"SMTP_PORT", "SMTP_FROM"}},
		"nobody": {Server{Host: "h", From: "a@b.c", Password: "hunter2"}, []string{"SMTP_USER"}},
	} {
		err := c.s.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not name %s", name, err, w)
			}
		}
	}
	m := Server{Host: "h", User: "oak", Password: "hunter2"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, m); strings.Contains(text, "hunter2") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
