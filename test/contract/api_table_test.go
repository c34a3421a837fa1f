package contract

import (
	"net/http"
	"strings"
)

// row is one operation: what each caller is answered, with what body, and how
// it is called. Call makes what the operation would change or end.
type row struct {
	op    string // method and path of the document, without the last slash
	want  string // statuses, in the order of the callers
	shape string // of a success, see lacks; of what is no JSON a part of it
	call  func(r *apiRig, as caller) call

	unknown int    // what an admin is answered for ids that do not exist, if not 404
	inner   string // "field shape", of the elements of a field
}

// call is one request. A token replaces the caller's.
type call struct {
	path   string
	body   any
	token  string
	enough func([]byte) bool // for what never ends, or is long
}

// Statuses of anonymous, wrong, foreigner, owner, orgadmin, infra, Admin.
const (
	toAll      = "200 200 200 200 200 200 200"
	toUsers    = "401 401 200 200 200 200 200"
	toAdmins   = "401 401 403 403 403 403 200"
	toSites    = "401 401 403 403 403 200 200" // Admin, Infrastructure_Provider
	toManagers = "401 401 403 403 200 403 200" // Admin, Organization_Admin
	toMakers   = "401 401 200 200 403 403 200" // Admin, Application_Provider
	toRead     = "401 401 404 200 404 404 200" // the owner's; not there for others
	toWrite    = "401 401 404 200 403 403 200" // the owner's, for who may deploy at all
	toAccount  = "401 401 403 200 200 403 200" // of a user; and of who manages the account
)

// Bodies of successes.
const (
	message     = "message:s"
	application = "_id:o applicationID:s application_name:s application_namespace:s application_desc:s userId:s microservices:a"
	aService    = "_id:o microserviceID:s microservice_name:s microservice_namespace:s applicationID:s app_name:s app_ns:s status:s status_detail:s port:s " +
		"code:s image:s virtualization:s RR_ip:s memory:i vcpus:i vgpus:i cmd:a environment:a constraints:a connectivity:a added_files:a instance_list:a " +
		"job_name:s service_name:s service_ns:s next_instance_progressive_number:i args:a vm_images:a volumes:a arch:a privileged:b one_shot:b addresses:o rollout:o"
	instances = "instance_list instance_number:i host_port:i status:s status_detail:s stale:b publicip:s cluster_id:s cluster_location:s host_ip:s worker_id:s " +
		"disk:s cpu_percent:s memory_percent:s cpu:s memory:s logs:s cpu_history:a memory_history:a"
	cluster = "_id:s cluster_name:s candidate_name:s ip:s cluster_location:s active:b status_detail:s replacement_paused_until:s active_nodes:i total_cpu_cores:i total_gpu_cores:i vcpus:i vgpus:i " +
		"memory_in_mb:i vram:i cpu_percent:n memory_percent:n gpu_percent:n aggregated_cpu_percent:n last_modified_timestamp:n virtualization:a csi_drivers:a " +
		"supported_addons:a gpu_drivers:a orphans:i"
	aNode = "id:s host:s ip:s cluster_id:s cluster_name:s status:s architecture:s virtualization:a network:b stale:b cordoned:b draining:b vcpus:n memory_in_mb:i " +
		"reserved_vcpus:n reserved_memory_in_mb:i cpu_percent:n memory_percent:n agent_version:s last_seen:s instances:a to_remove:a to_remove_total:i"
	orphan       = "cluster_id:s cluster_name:s node_id:s host:s microserviceID:s job_name:s instance_number:i epoch:s since:s status:s reason:s"
	event        = "id:s time:s first_time:s count:i kind:s subject:o reason:s message:s"
	aUser        = "_id:o name:s email:s roles:a organization:s created_at:s must_change_password:b"
	organization = "_id:o organization_id:s name:s member:a"
	token        = "id:s name:s prefix:s scopes:a organization:s created_at:s expires_at:s last_used:s"
	revision     = "revision:i present:b image:s cmd:a port:s memory:i vcpus:n changes:a"
	created      = "job_id:s deployed_services:a failed_services:a"
)

// at calls a path without a body; {app}, {service}, {cluster} and {lab} are
// what lasts for the whole test.
func at(path string) func(*apiRig, caller) call {
	return func(r *apiRig, _ caller) call {
		return call{path: strings.NewReplacer("{app}", r.app, "{service}", r.service, "{cluster}", r.link.id, "{lab}", r.lab).Replace(path)}
	}
}

// ofService calls a path of a service that was made for it.
func ofService(rest string, content any) func(*apiRig, caller) call {
	return func(r *apiRig, _ caller) call {
		return call{path: "/api/service/" + r.newService() + rest, body: content}
	}
}

func bytesRead(n int) func([]byte) bool {
	return func(b []byte) bool { return len(b) >= n }
}

// opened: a stream has said its first message.
func opened(b []byte) bool { return contains(b, "\n\n") }

func accountRows() []row {
	return []row{
		{op: "GET /healthz", want: toAll, shape: "status:s version:s", call: at("/healthz")},
		{op: "GET /readyz", want: toAll, shape: "status:s version:s", call: at("/readyz")},
		{op: "GET /metrics", want: toAll, shape: "# TYPE", call: at("/metrics")},
		{op: "POST /api/auth/login", want: toAll, shape: "token:s refresh_token:s must_change_password:b", call: func(*apiRig, caller) call {
			return call{path: "/api/auth/login", body: body{"username": "owner", "password": password}}
		}},
		{op: "POST /api/auth/refresh", want: toUsers, shape: "token:s refresh_token:s", call: func(r *apiRig, as caller) call {
			return call{path: "/api/auth/refresh", token: as.refresh}
		}},
		{op: "POST /api/auth/logout", want: toUsers, shape: message, call: func(r *apiRig, as caller) call {
			c := call{path: "/api/auth/logout"}
			if as.known {
				c.token, _ = r.login(as.name)
			}
			return c
		}},
		{op: "POST /api/auth/register", want: toManagers, shape: message + " user:o " + aUser, call: func(r *apiRig, _ caller) call {
			return call{path: "/api/auth/register", body: body{"name": r.fresh("new"), "password": password, "email": "", "roles": []string{"Application_Provider"}}}
		}},
		// Resets are counted per address, and every password that is set costs a
		// second: the success is one caller's.
		{op: "POST /api/user", want: "200 422 422 422 422 422 422", shape: "o", call: func(r *apiRig, as caller) call {
			name := ""
			if as.name == "anonymous" {
				name = "nobody" // whether there is such a user is not told
			}
			return call{path: "/api/user", body: body{"username": name}}
		}},
		{op: "PUT /api/user", want: "200 422 400 422 422 422 422", shape: "o", call: func(r *apiRig, as caller) call {
			switch as.name {
			case "anonymous":
				return call{path: "/api/user", body: body{"token": r.mailed(r.newUser()), "password": password + "2"}}
			case "foreigner":
				return call{path: "/api/user", body: body{"token": "nonsense", "password": password + "2"}}
			}
			if r.reset == "" {
				r.reset = r.mailed(r.newUser())
			}
			return call{path: "/api/user", body: body{"token": r.reset, "password": "short"}}
		}},
		{op: "GET /api/user/{name}", want: toAccount, shape: aUser, call: at("/api/user/owner")},
		{op: "POST /api/user/{name}", want: "401 401 403 200 403 403 403", shape: "o", unknown: 403, call: func(r *apiRig, as caller) call {
			name := r.newUser()
			c := call{path: "/api/user/" + name, body: body{"oldPassword": password, "newPassword": password + "2"}}
			if as.name == "owner" {
				c.token, _ = r.login(name)
			}
			return c
		}},
		{op: "PUT /api/user/{name}", want: toAccount, shape: "s", call: func(r *apiRig, as caller) call {
			return call{path: "/api/user/owner", body: body{"name": "owner", "email": r.fresh("o") + "@example.org", "oldPassword": password}}
		}},
		{op: "DELETE /api/user/{name}", want: toManagers, shape: "[]" + aUser, call: func(r *apiRig, _ caller) call {
			return call{path: "/api/user/" + r.newUser()}
		}},
		{op: "GET /api/users", want: toAdmins, shape: "[]" + aUser, call: at("/api/users")},
		{op: "GET /api/users/{organization}", want: toManagers, shape: "[]" + aUser, call: at("/api/users/{lab}")},
		{op: "GET /api/permission/{name}", want: toAccount, shape: "roles:a", inner: "roles name:s description:s", call: at("/api/permission/owner")},

		{op: "GET /api/organization", want: toManagers, shape: "[]" + organization, call: at("/api/organization")},
		{op: "POST /api/organization", want: toAdmins, shape: "s", call: func(r *apiRig, _ caller) call {
			return call{path: "/api/organization", body: body{"name": r.fresh("org"), "member": []body{{"user_id": "owner", "roles": []string{"Application_Provider"}}}}}
		}},
		{op: "PUT /api/organization/{id}", want: toManagers, shape: message, call: func(r *apiRig, _ caller) call {
			return call{path: "/api/organization/" + r.lab, body: body{"name": "lab"}}
		}},
		{op: "DELETE /api/organization/{id}", want: toAdmins, shape: message, call: func(r *apiRig, _ caller) call {
			var id string
			r.good(http.MethodPost, "/api/organization", r.token("Admin"), body{"name": r.fresh("org")}, &id)
			return call{path: "/api/organization/" + id}
		}},
		{op: "GET /api/tokens", want: toUsers, shape: "[]" + token, call: at("/api/tokens")},
		{op: "POST /api/tokens", want: toUsers, shape: token + " token:s", call: func(r *apiRig, _ caller) call {
			return call{path: "/api/tokens", body: body{"name": r.fresh("t"), "scopes": []string{"read"}}}
		}},
		{op: "DELETE /api/tokens/{id}", want: toRead, shape: message, call: func(r *apiRig, _ caller) call {
			var made struct{ ID string }
			r.good(http.MethodPost, "/api/tokens", r.token("owner"), body{"name": r.fresh("t"), "scopes": []string{"read"}}, &made)
			return call{path: "/api/tokens/" + made.ID}
		}},
	}
}

func workloadRows() []row {
	addServices := func(path string) func(*apiRig, caller) call {
		return func(r *apiRig, _ caller) call {
			app, _ := r.newApp()
			d := descriptor(app, "ignored")
			d["applications"].([]body)[0]["microservices"] = []body{service("two")}
			return call{path: path, body: d}
		}
	}
	return []row{
		{op: "POST /api/application", want: toMakers, shape: "[]" + application, call: func(r *apiRig, _ caller) call {
			return call{path: "/api/application", body: descriptor("", r.fresh("a"))}
		}},
		{op: "GET /api/application/{id}", want: toRead, shape: application, call: at("/api/application/{app}")},
		{op: "PUT /api/application/{id}", want: toWrite, shape: message, call: func(r *apiRig, _ caller) call {
			return call{path: "/api/application/" + r.app, body: body{"application_desc": r.fresh("d")}}
		}},
		{op: "DELETE /api/application/{id}", want: toWrite, shape: message, call: func(r *apiRig, _ caller) call {
			app, _ := r.newApp()
			return call{path: "/api/application/" + app}
		}},
		{op: "POST /api/apply", want: toMakers, shape: "dry_run:b created:a changed:a left:a warnings:a", inner: "created kind:s name:s id:s what:s",
			call: func(r *apiRig, _ caller) call { return call{path: "/api/apply", body: descriptor("", r.fresh("a"))} }},
		{op: "GET /api/applications", want: toUsers, shape: "[]" + application, call: at("/api/applications")},
		{op: "GET /api/aplications", want: toUsers, shape: "[]" + application, call: at("/api/aplications")},
		{op: "GET /api/applications/{user}", want: "401 401 403 200 403 403 200", shape: "[]" + application, call: at("/api/applications/owner")},

		{op: "POST /api/service", want: toWrite, shape: created, call: addServices("/api/service")},
		{op: "POST /api/services", want: toWrite, shape: created, call: addServices("/api/services")},
		{op: "GET /api/service/{id}", want: toRead, shape: aService, inner: instances, call: at("/api/service/{service}")},
		{op: "PUT /api/service/{id}", want: toWrite, shape: aService, inner: instances, call: ofService("", body{"memory": 11})},
		{op: "DELETE /api/service/{id}", want: toWrite, shape: message, call: ofService("", nil)},
		{op: "GET /api/service/{id}/revisions", want: toRead, shape: "[]" + revision, call: at("/api/service/{service}/revisions")},
		{op: "GET /api/service/{id}/explain", want: toRead, shape: "microserviceID:s job_name:s one_more:o waiting:a waiting_total:i",
			inner: "waiting instance_number:i status:s status_detail:s outlook:o", call: at("/api/service/{service}/explain")},
		{op: "POST /api/service/{id}/scale", want: toWrite, shape: "message:s replicas:i added:a removed:a", call: ofService("/scale", body{"replicas": 2})},
		{op: "POST /api/service/{id}/rollback", want: toWrite, shape: aService, inner: instances, call: func(r *apiRig, _ caller) call {
			id := r.newService()
			r.good(http.MethodPut, "/api/service/"+id, r.token("owner"), body{"memory": 11}, nil)
			return call{path: "/api/service/" + id + "/rollback", body: body{"revision": 1}}
		}},
		{op: "GET /api/services", want: toUsers, shape: "[]" + aService, call: at("/api/services")},
		{op: "GET /api/services/{app}", want: toRead, shape: "[]" + aService, call: at("/api/services/{app}")},
		{op: "POST /api/service/{id}/instance", want: toWrite, shape: "message:s instance_number:i", call: ofService("/instance", nil)},
		{op: "DELETE /api/service/{id}/instance/{number}", want: toWrite, shape: message, call: ofService("/instance/0", nil)},
		{op: "GET /api/application/{id}/events", want: toRead, shape: "[]" + event, call: at("/api/application/{app}/events")},
		{op: "GET /api/service/{id}/events", want: toRead, shape: "[]" + event, call: at("/api/service/{service}/events")},
		{op: "GET /api/service/{id}/instance/{number}/events", want: toRead, shape: "[]" + event, call: at("/api/service/{service}/instance/0/events")},
	}
}

func siteRows() []row {
	forget := func(path string) func(*apiRig, caller) call {
		return func(r *apiRig, _ caller) call { return call{path: path + r.gone()} }
	}
	return []row{
		{op: "GET /api/clusters", want: toUsers, shape: "[]" + cluster, call: at("/api/clusters")},
		{op: "GET /api/clusters/active", want: toUsers, shape: "[]" + cluster, call: at("/api/clusters/active")},
		{op: "GET /api/cluster/{id}", want: toUsers, shape: cluster, call: at("/api/cluster/{cluster}")},
		{op: "GET /api/clusters/{id}", want: toUsers, shape: cluster, call: at("/api/clusters/{cluster}")},
		{op: "DELETE /api/cluster/{id}", want: toSites, shape: "message:s orphaned:a", call: forget("/api/cluster/")},
		{op: "DELETE /api/clusters/{id}", want: toSites, shape: "message:s orphaned:a", call: forget("/api/clusters/")},
		{op: "POST /api/cluster/{id}/confirm-loss", want: toSites, shape: message, call: at("/api/cluster/{cluster}/confirm-loss")},
		{op: "POST /api/clusters/{id}/confirm-loss", want: toSites, shape: message, call: at("/api/clusters/{cluster}/confirm-loss")},
		// Nobody asks for its name; one who does is in root/assign's TestALostKeyIsApproved.
		{op: "POST /api/cluster/{id}/approve", want: "401 401 403 403 403 404 404", call: at("/api/cluster/{cluster}/approve")},
		{op: "POST /api/clusters/{id}/approve", want: "401 401 403 403 403 404 404", call: at("/api/clusters/{cluster}/approve")},
		// No cluster has been given the instance: there is nothing to open. What
		// comes of it is in root/rest and in test/e2e.
		{op: "GET /api/service/{id}/instance/{number}/logs", want: "401 401 404 409 404 404 409", call: at("/api/service/{service}/instance/0/logs")},
		{op: "GET /api/service/{id}/instance/{number}/exec", want: "401 401 404 422 403 403 422", call: at("/api/service/{service}/instance/0/exec")},
		{op: "GET /api/cluster/{id}/events", want: toUsers, shape: "[]" + event, call: at("/api/cluster/{cluster}/events")},
		{op: "GET /api/clusters/{id}/events", want: toUsers, shape: "[]" + event, call: at("/api/clusters/{cluster}/events")},

		{op: "GET /api/nodes", want: toSites, shape: "[]" + aNode, call: at("/api/nodes")},
		{op: "GET /api/nodes/{id}", want: toSites, shape: aNode, call: at("/api/nodes/w1")},
		{op: "POST /api/nodes/{id}/cordon", want: toSites, shape: message, call: at("/api/nodes/w1/cordon")},
		{op: "POST /api/nodes/{id}/uncordon", want: toSites, shape: message, call: at("/api/nodes/w1/uncordon")},
		{op: "POST /api/nodes/{id}/drain", want: toSites, shape: "message:s moving:a staying:a", inner: "moving microserviceID:s instance_number:i job_name:s to:s",
			call: at("/api/nodes/w1/drain")},
		{op: "DELETE /api/nodes/{id}", want: toSites, shape: message, call: func(r *apiRig, _ caller) call {
			return call{path: "/api/nodes/" + r.worker(r.fresh("w"))}
		}},
		{op: "GET /api/nodes/{id}/events", want: toSites, shape: "[]" + event, call: at("/api/nodes/w1/events")},

		{op: "GET /api/orphans", want: toSites, shape: "[]" + orphan, call: at("/api/orphans")},
		{op: "DELETE /api/orphans/{cluster}/{node}/{service}/{number}", want: toSites, shape: message, call: func(r *apiRig, _ caller) call {
			return call{path: r.stray(r.fresh("stray"))}
		}},

		{op: "GET /api/events", want: toUsers, shape: ": ", call: func(*apiRig, caller) call { return call{path: "/api/events", enough: opened} }},
		{op: "GET /api/admin/backup", want: toAdmins, shape: "", call: func(*apiRig, caller) call { return call{path: "/api/admin/backup", enough: bytesRead(512)} }},
		{op: "GET /api/recovery", want: toUsers, shape: "recovery:b waiting_for:a unknown:a", call: at("/api/recovery")},
		// What it ends is in TestRecoveryIsAcceptedOnce.
		{op: "POST /api/recovery/accept", want: "401 401 403 403 403 403 409", call: at("/api/recovery/accept")},
	}
}
