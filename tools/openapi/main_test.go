package main

import (
	"os"
	"strings"
	"testing"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTheDocumentsAreUpToDateAndValid(t *testing.T) {
	two, three := read(t, "root/rest/docs/swagger.json"), read(t, "root/rest/docs/openapi.json")
	haveTwo, haveThree, err := convert(two, read(t, "deploy/deploy_curl_application.json"))
	if err != nil {
		t.Fatal(err)
	}
	if string(haveTwo) != string(two) || string(haveThree) != string(three) {
		t.Error("the documents are not what the converter makes; run: make generate")
	}
	if err := validate(three); err != nil {
		t.Error(err)
	}
}

const small = `{
    "swagger": "2.0", "info": {"title": "t", "version": "1"},
    "securityDefinitions": {"Bearer":{"type":"apiKey","name":"Authorization","in":"header"}},
    "paths": {"/api/application/":{"post":{"consumes":["application/json"],"responses":{"200":{"description":"OK"}},
        "parameters":[{"in":"body","name":"body","schema":{"$ref":"#/definitions/Descriptor"}}]}}},
    "definitions": {
        "Descriptor": {
            "type": "object", "properties": {"customerID": {"type": "string"}}
        }
    }
}`

func TestWhatIsWrongIsRefused(t *testing.T) {
	if _, _, err := convert([]byte(small), []byte(`{"customerID":"Admin"}`)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ doc, sample, reason string }{
		"no JSON":                        {"{", "{}", "unexpected end"},
		"no such definition":             {strings.ReplaceAll(small, "Descriptor", "Other"), "{}", "no definition of Descriptor"},
		"another scheme":                 {strings.ReplaceAll(small, "Bearer", "Basic"), "{}", "not Bearer alone"},
		"an example of another type":     {small, `{"customerID":7}`, "customerID"},
		"a reference that leads nowhere": {strings.Replace(small, `"type": "string"`, `"$ref":"#/definitions/Gone"`, 1), "{}", "Gone"},
		"a path parameter undescribed":   {strings.Replace(small, "/application/", "/application/{id}", 1), "{}", "id"},
		"nothing takes a descriptor":     {strings.Replace(small, `"$ref":"#/definitions/Descriptor"`, `"type":"object"`, 1), "{}", "no operation takes"},
	} {
		if _, _, err := convert([]byte(c.doc), []byte(c.sample)); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: error %v, want one about %q", name, err, c.reason)
		}
	}
}

func TestOperationID(t *testing.T) {
	for in, want := range map[string]string{
		"GET /api/service/{id}":                      "getServiceById",
		"DELETE /api/service/{id}/instance/{number}": "deleteServiceByIdInstanceByNumber",
		"GET /healthz":                               "getHealthz",
	} {
		method, path, _ := strings.Cut(in, " ")
		if got := operationID(method, path); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
