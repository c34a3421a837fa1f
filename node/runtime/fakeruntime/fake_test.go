package fakeruntime_test

import (
	"testing"

	"oakestra/node/runtime"
	"oakestra/node/runtime/fakeruntime"
	"oakestra/node/runtime/runtimetest"
)

func TestFake(t *testing.T) {
	runtimetest.Run(t, func(*testing.T) (runtime.Runtime, string) { return fakeruntime.New(), "x" })
}
