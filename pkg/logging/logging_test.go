package logging

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestLevelsAndFormats(t *testing.T) {
	for _, c := range []struct {
		level, format string
		lines         int
	}{
		{"debug", "text", 3}, {"info", "json", 2}, {"INFO", "JSON", 2}, {"error", "text", 1},
	} {
		var out bytes.Buffer
		log, err := New(&out, c.level, c.format)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("a", "k", 1)
		log.Info("b", "k", 2)
		log.Error("c", "k", 3)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != c.lines {
			t.Errorf("level %s: %d lines, want %d", c.level, len(lines), c.lines)
		}
		if isJSON := json.Valid([]byte(lines[0])); isJSON != strings.EqualFold(c.format, "json") {
			t.Errorf("format %s wrote %s", c.format, lines[0])
		}
	}
}

func TestWrongLevelsAndFormatsAreNamed(t *testing.T) {
	for _, c := range []struct{ level, format, want string }{
		{"loud", "text", `log level "loud": want debug, info, warn or error`},
		{"", "text", `log level "": want debug, info, warn or error`},
		{"info", "xml", `log format "xml": want text or json`},
	} {
		if _, err := New(&bytes.Buffer{}, c.level, c.format); err == nil || err.Error() != c.want {
			t.Errorf("New(%q, %q): %v, want %s", c.level, c.format, err, c.want)
		}
	}
}
