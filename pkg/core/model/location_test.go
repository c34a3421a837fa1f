package model

import "testing"

func TestLocations(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "kitchen": "", "Munich, Bavaria, Germany": "", "48.1,11.5": "", "48.1,11.5,1000,7": "", "48.1,11.5,": "", "48,11,1km": "",
		"48.15,11.58,1000": "", " 48.15 , 11.58 , 0 ": "", "-90,-180,1e6": "", "90,180,0.5": "",
		"91,500,-3":     "latitude: want -90 to 90 degrees; longitude: want -180 to 180 degrees; radius: want 0 or more metres",
		"-90.1,11,1":    "latitude: want -90 to 90 degrees",
		"48,180.1,1":    "longitude: want -180 to 180 degrees",
		"48,11,-0.1":    "radius: want 0 or more metres",
		"NaN,11,1":      "latitude: want -90 to 90 degrees",
		"48,11,Inf":     "radius: want 0 or more metres",
		"48,1e999,1000": "longitude: want -180 to 180 degrees",
	} {
		if got := LocationProblem(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
