package ports

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want []model.Port
	}{
		{"", nil},
		{"  ", nil},
		{"9080", []model.Port{{Host: 9080, Container: 9080, Protocol: model.TCP}}},
		{"6080:60/tcp", []model.Port{{Host: 6080, Container: 60, Protocol: model.TCP}}},
		{" 53:5353/UDP ; 80:8080 ,", []model.Port{{Host: 53, Container: 5353, Protocol: model.UDP}, {Host: 80, Container: 8080, Protocol: model.TCP}}},
		{"53:53/udp,53:53/tcp", []model.Port{{Host: 53, Container: 53, Protocol: model.UDP}, {Host: 53, Container: 53, Protocol: model.TCP}}},
	} {
		got, err := Parse(c.text)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.text, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("Parse(%q): %s", c.text, diff)
		}
	}
}

func TestParseNamesEveryBadPiece(t *testing.T) {
	_, err := Parse("0:1; 80:99999; x ;80:80/icmp; 81:81 ; 81:82; 1:2:3")
	var problems errs.Problems
	if !errors.As(err, &problems) || !errors.Is(err, errs.Invalid) {
		t.Fatalf("error = %v", err)
	}
	var values []string
	for _, p := range problems {
		values = append(values, p.Value)
	}
	if got, want := strings.Join(values, " | "), "0:1 | 80:99999 | x | 80:80/icmp | 81:82 | 1:2:3"; got != want {
		t.Errorf("bad pieces = %s, want %s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "6080:60/tcp", "9080", "1:2;3:4/udp,5", "a:b", ":", "//", "65536"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(Format(list))
		if err != nil || !cmp.Equal(list, again) {
			t.Errorf("Parse(%q) = %v, but its Format reads as %v, %v", text, list, again, err)
		}
	})
}
