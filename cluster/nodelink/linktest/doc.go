// Package linktest is what every nodelink.Link must do: Run is called by the
// tests of memlink and mqttlink, over each broker there is. Tests only.
package linktest
