package model

import (
	"math"
	"strconv"
	"strings"
)

// LocationProblem says what is wrong with where a cluster is, "" for nothing.
// Three numbers are degrees of latitude and longitude and a radius in metres;
// everything else is free text.
func LocationProblem(text string) string {
	parts := strings.Split(text, ",")
	if len(parts) != 3 {
		return ""
	}
	var v [3]float64
	for i, p := range parts {
		n, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil && !math.IsInf(n, 0) { // else a number, too large for anything
			return ""
		}
		v[i] = n
	}
	var wrong []string
	within := func(name string, v, low, high float64, want string) {
		if !(v >= low && v <= high) { // NaN is not
			wrong = append(wrong, name+": want "+want)
		}
	}
	within("latitude", v[0], -90, 90, "-90 to 90 degrees")
	within("longitude", v[1], -180, 180, "-180 to 180 degrees")
	within("radius", v[2], 0, math.MaxFloat64, "0 or more metres")
	return strings.Join(wrong, "; ")
}
