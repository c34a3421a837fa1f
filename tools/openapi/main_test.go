package main

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
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
    "paths": {
        "/api/application/": {
            "post": {
                "consumes":["application/json"],
                "parameters":[{"in":"body","name":"body","schema":{"$ref":"#/definitions/Descriptor"}}],
                "responses": {
                    "200": {
                        "description": "OK"
                    }
                }
            }
        }
    },
    "definitions": {
        "Error": {
            "type": "object"
        },
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

const asSwagWrites = `{
    "swagger": "2.0",
    "paths": {
        "/api/a/": {
            "post": {
                "parameters": [
                    {
                        "in": "body"
                    }
                ],
                "responses": {
                    "200": {
                        "description": "OK"
                    },
                    "413": {
                        "description": "its own words"
                    }
                }
            },
            "get": {
                "responses": {
                    "200": {
                        "description": "OK"
                    },
                    "507": {
                        "description": "full"
                    }
                }
            }
        },
        "/healthz": {
            "get": {
                "responses": {
                    "200": {
                        "description": "OK"
                    }
                }
            }
        }
    }
}`

func TestWhatIsCommonIsAddedOnce(t *testing.T) {
	text, err := withCommon([]byte(asSwagWrites))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct{ Description string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for at, want := range map[[2]string]string{{"/api/a/", "post"}: "200 408 413 503", {"/api/a/", "get"}: "200 503 507", {"/healthz", "get"}: "200"} {
		got := slices.Sorted(maps.Keys(d.Paths[at[0]][at[1]].Responses))
		if strings.Join(got, " ") != want {
			t.Errorf("%v has %v, want %s", at, got, want)
		}
	}
	if own := d.Paths["/api/a/"]["post"].Responses["413"].Description; own != "its own words" {
		t.Errorf("413 says %q", own)
	}
	again, err := withCommon(text)
	if err != nil || string(again) != string(text) {
		t.Errorf("a second time it changes, %v", err)
	}
	for name, wrong := range map[string]string{"another indent": strings.ReplaceAll(asSwagWrites, "    ", "  "), "no JSON": "{"} {
		if _, err := withCommon([]byte(wrong)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
