package agents

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// The tests wait for the clocks of the protocol and use no processor meanwhile:
// all of them run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}
