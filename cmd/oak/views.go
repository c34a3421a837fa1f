package main

import (
	"fmt"
	"strings"
)

// The parts of the root's answers that the command line shows.

type applicationView struct {
	ID       string   `json:"applicationID"`
	Name     string   `json:"application_name"`
	NS       string   `json:"application_namespace"`
	Desc     string   `json:"application_desc"`
	Owner    string   `json:"userId"`
	Services []string `json:"microservices"`
}

type serviceView struct {
	ID           string         `json:"microserviceID"`
	Application  string         `json:"applicationID"`
	JobName      string         `json:"job_name"`
	Name         string         `json:"microservice_name"`
	Status       string         `json:"status"`
	StatusDetail string         `json:"status_detail"`
	Image        string         `json:"image"`
	Address      string         `json:"RR_ip"`
	Port         string         `json:"port"`
	Instances    []instanceView `json:"instance_list"`
	Rollout      rolloutView    `json:"rollout"`
	Warnings     []string       `json:"warnings"`
}

type rolloutView struct {
	Revision       uint64 `json:"revision"`
	Target         uint64 `json:"target"`
	Updated        int    `json:"updated"`
	Total          int    `json:"total"`
	MaxUnavailable int    `json:"max_unavailable"`
	State          string `json:"state"`
	Message        string `json:"message"`
}

type revisionView struct {
	Revision uint64   `json:"revision"`
	Present  bool     `json:"present"`
	Image    string   `json:"image"`
	Changes  []string `json:"changes"`
}

type scaledView struct {
	Replicas int   `json:"replicas"`
	Added    []int `json:"added"`
	Removed  []int `json:"removed"`
}

type appliedView struct {
	DryRun   bool          `json:"dry_run"`
	Created  []appliedItem `json:"created"`
	Changed  []appliedItem `json:"changed"`
	Left     []appliedItem `json:"left"`
	Warnings []string      `json:"warnings"`
}

type appliedItem struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	ID   string `json:"id"`
	What string `json:"what"`
}

type instanceView struct {
	Number       int    `json:"instance_number"`
	Status       string `json:"status"`
	StatusDetail string `json:"status_detail"`
	Stale        bool   `json:"stale"`
	Cluster      string `json:"cluster_id"`
	Worker       string `json:"worker_id"`
	HostIP       string `json:"host_ip"`
	Address      string `json:"instance_ip"`
}

type nodeView struct {
	ID          string  `json:"id"`
	Host        string  `json:"host"`
	Cluster     string  `json:"cluster_name"`
	Address     string  `json:"ip"`
	Arch        string  `json:"architecture"`
	Status      string  `json:"status"`
	Stale       bool    `json:"stale"`
	VCPUs       float64 `json:"vcpus"`
	MemoryMB    int64   `json:"memory_in_mb"`
	CPUPercent  float64 `json:"cpu_percent"`
	MemoryUsed  float64 `json:"memory_percent"`
	Network     bool    `json:"network"`
	Subnet      string  `json:"subnet"`
	VCPUsHeld   float64 `json:"reserved_vcpus"`
	MemoryHeld  int64   `json:"reserved_memory_in_mb"`
	LastSeen    string  `json:"last_seen"`
	AgentString string  `json:"agent_version"`
	ToRemove    []struct {
		Waits string `json:"waits_for"`
	} `json:"to_remove"`
	Removals int `json:"to_remove_total"`
}

// detail is what a user should know of a worker.
func (n nodeView) detail() string {
	var parts []string
	if n.Stale {
		text := "cluster " + n.Cluster + " is not connected"
		if n.LastSeen != "" {
			text += "; as heard at " + n.LastSeen
		}
		parts = append(parts, text)
	}
	if n.Removals > 0 {
		text := fmt.Sprintf("%d to be removed", n.Removals)
		if len(n.ToRemove) > 0 && n.ToRemove[0].Waits != "" {
			text += ": " + n.ToRemove[0].Waits
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

type clusterView struct {
	Name     string  `json:"cluster_name"`
	IP       string  `json:"ip"`
	Location string  `json:"cluster_location"`
	Active   bool    `json:"active"`
	Detail   string  `json:"status_detail"`
	Nodes    int     `json:"active_nodes"`
	VCPUs    float64 `json:"vcpus"`
	MemoryMB int64   `json:"memory_in_mb"`
	CPU      float64 `json:"cpu_percent"`
	Orphans  int     `json:"orphans"`
}

type recoveryView struct {
	Recovery   bool          `json:"recovery"`
	WaitingFor []string      `json:"waiting_for"`
	Unknown    []unknownView `json:"unknown"`
}

// unknownView is a container that runs without a record.
type unknownView struct {
	Cluster string `json:"cluster_id"`
	Node    string `json:"node_id"`
	Service string `json:"job_name"`
	ID      string `json:"microserviceID"`
	Number  int    `json:"instance_number"`
	Epoch   string `json:"epoch"`
}

// heard is a status, marked when nobody can hear whether it is still so.
func heard(status string, stale bool) string {
	if stale {
		return status + " (stale)"
	}
	return status
}
