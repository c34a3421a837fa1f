// Package runtimetest is the suite every runtime.Runtime passes.
package runtimetest
