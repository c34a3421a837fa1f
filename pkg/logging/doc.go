// Package logging makes the structured logger that every program hands to its
// parts. There is no global logger: whoever logs is given one.
package logging
