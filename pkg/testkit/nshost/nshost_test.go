package nshost

import (
	"net"
	"os"
	"testing"
)

func TestTwoHostsTalk(t *testing.T) {
	var path string
	t.Run("pair", func(t *testing.T) {
		a, b := New(t), New(t)
		path = a.Path()
		a.Join(t, "up0", b, "up0")
		a.Address(t, "up0", "192.0.2.1/24")
		b.Address(t, "up0", "192.0.2.2/24")
		l := b.Listen(t, "tcp4", "192.0.2.2:80")
		go func() {
			if c, err := l.Accept(); err == nil {
				if _, err := c.Write([]byte(c.RemoteAddr().(*net.TCPAddr).IP.String())); err != nil {
					t.Error(err)
				}
				c.Close()
			}
		}()
		c, err := a.Dial(net.Dialer{}, "tcp4", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 32)
		n, _ := c.Read(buf)
		if string(buf[:n]) != "192.0.2.1" {
			t.Fatalf("seen as %q", buf[:n])
		}
	})
	if _, err := os.Stat(path); path != "" && !os.IsNotExist(err) {
		t.Fatalf("%s is left: %v", path, err)
	}
}
