package fakeruntime_test

import (
	"testing"

	"oakestra/node/runtime/fakeruntime"
	"oakestra/node/runtime/runtimetest"
)

func TestFake(t *testing.T) {
	runtimetest.Run(t, func(*testing.T) (runtimetest.Whole, string) { return fakeruntime.New(), "x" })
}
