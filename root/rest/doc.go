// Package rest is the root's HTTP API: the routes, field names and status
// codes that existing Oakestra clients rely on, the OpenAPI page at /api/docs
// and the health probes. Handlers turn a request into a call of root/control
// or root/auth and its result into a DTO of api/rest (convert.go); they decide
// nothing and touch no store. errors.go is the only place where an error class
// becomes an HTTP status.
//
// Caller: cmd/system-manager, which serves the handler on port 10000.
package rest

//go:generate go run github.com/swaggo/swag/cmd/swag@v1.16.6 init --quiet --generalInfo router.go --dir ./,../../api/rest --output docs --outputTypes json
//go:generate go -C ../../tools/openapi run . -doc ../../root/rest/docs/swagger.json -example ../../deploy/deploy_curl_application.json -out ../../root/rest/docs/openapi.json
//go:generate go -C ../../tools/openapi run ./page -out ../../root/rest/docs/page
