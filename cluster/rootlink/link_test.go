package rootlink

import "testing"

func TestTarget(t *testing.T) {
	for in, want := range map[string]string{
		" 192.0.2.1 ": "192.0.2.1:10000", "root": "root:10000", "root:7": "root:7", "http://root/": "root:10000",
		"https://root:8/x": "root:8", "2001:db8::1": "[2001:db8::1]:10000", "[2001:db8::1]:5": "[2001:db8::1]:5",
		"": "", "a b": "", "host:": "",
	} {
		if got, err := Target(in); got != want || (err == nil) != (want != "") {
			t.Errorf("Target(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}
