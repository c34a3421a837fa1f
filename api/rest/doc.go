// Package rest is the shape of the root's HTTP API in JSON: field names, types
// and the rule that no array is ever null are what existing clients rely on.
// Shapes only; root/rest fills them in convert.go and says which route answers
// what.
package rest
