// The converter of `make generate`, apart from the product's modules and from
// the linters'.
module oakestra/tools/openapi

go 1.26.6

require (
	github.com/getkin/kin-openapi v0.153.0
	github.com/swaggo/files/v2 v2.0.2
)

require (
	github.com/go-openapi/jsonpointer v0.22.5 // indirect
	github.com/go-openapi/swag/jsonname v0.25.5 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // indirect
	go.yaml.in/yaml/v4 v4.0.0 // indirect
	golang.org/x/text v0.14.0 // indirect
)
