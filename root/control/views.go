package control

import (
	"cmp"
	"context"
	"fmt"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// ApplicationView is an application with the ids of its services, by age.
type ApplicationView struct {
	model.Application
	Services []model.ServiceID
}

// ServiceView is a service with its instances; deleted ones are left out.
type ServiceView struct {
	model.Service
	Word   instance.Word
	Detail string
	Slots  []SlotView
}

// SlotView is everything known of one instance: what was decided, what was
// seen, and the word and the sentence that sum it up.
type SlotView struct {
	store.Instance
	Seen    InstanceView      // zero when no cluster has reported it
	Reasons []instance.Reason // why no cluster can take it
	Site    model.Cluster
	Stale   bool // its cluster is not connected: everything is as last heard
	Word    instance.Word
	Detail  string

	objections []objection       // of clusters that refuse it, but its own
	barred     []instance.Reason // against those that were not asked
}

// Applications lists those of the caller; all of them for an administrator.
func (c *Control) Applications(ctx context.Context, who Caller) ([]ApplicationView, error) {
	apps, err := c.store.Applications().List(ctx, who.scope())
	if err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	parts, err := c.store.Applications().Parts(ctx, who.scope())
	if err != nil {
		return nil, fmt.Errorf("list their services: %w", err)
	}
	out := make([]ApplicationView, 0, len(apps))
	for _, a := range apps {
		out = append(out, ApplicationView{Application: a, Services: parts[a.ID]})
	}
	return out, nil
}

// Application returns one; NotFound when it is unknown or another user's.
func (c *Control) Application(ctx context.Context, who Caller, id model.ApplicationID) (ApplicationView, error) {
	app, err := c.application(ctx, who, id)
	if err != nil {
		return ApplicationView{}, err
	}
	services, err := c.store.Services().List(ctx, id)
	if err != nil {
		return ApplicationView{}, fmt.Errorf("services of application %s: %w", id, err)
	}
	v := ApplicationView{Application: app}
	for _, s := range services {
		v.Services = append(v.Services, s.ID)
	}
	return v, nil
}

func (c *Control) application(ctx context.Context, who Caller, id model.ApplicationID) (model.Application, error) {
	app, err := c.store.Applications().Get(ctx, id)
	if err == nil && !who.mayUse(app.Owner) {
		err = fmt.Errorf("application %q: %w", id, errs.NotFound)
	}
	return app, err
}

func (c *Control) service(ctx context.Context, who Caller, id model.ServiceID) (model.Service, error) {
	s, err := c.store.Services().Get(ctx, id)
	if err == nil && !who.mayUse(s.Owner) {
		err = fmt.Errorf("service %q: %w", id, errs.NotFound)
	}
	return s, err
}

// Services lists those of one application (NotFound when it is not the
// caller's), or for "" all the caller may see.
func (c *Control) Services(ctx context.Context, who Caller, app model.ApplicationID) ([]ServiceView, error) {
	if app != "" {
		if _, err := c.application(ctx, who, app); err != nil {
			return nil, err
		}
	}
	services, err := c.store.Services().List(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	sites := c.sites()
	out := make([]ServiceView, 0, len(services))
	for _, s := range services {
		if !who.mayUse(s.Owner) {
			continue
		}
		v, err := c.view(ctx, s, sites)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Service returns one; NotFound when it is unknown or another user's.
func (c *Control) Service(ctx context.Context, who Caller, id model.ServiceID) (ServiceView, error) {
	s, err := c.service(ctx, who, id)
	if err != nil {
		return ServiceView{}, err
	}
	return c.view(ctx, s, c.sites())
}

func (c *Control) sites() map[model.ClusterID]ClusterView {
	out := map[model.ClusterID]ClusterView{}
	for _, v := range c.below.Clusters() {
		out[v.ID] = v
	}
	return out
}

func (c *Control) view(ctx context.Context, s model.Service, sites map[model.ClusterID]ClusterView) (ServiceView, error) {
	slots, err := c.store.Instances().List(ctx, s.ID)
	if err != nil {
		return ServiceView{}, fmt.Errorf("instances of service %s: %w", s.ID, err)
	}
	v := ServiceView{Service: s}
	for _, in := range slots {
		if in.Tombstone {
			continue
		}
		v.Slots = append(v.Slots, slotView(in, c.below, sites))
	}
	v.Word, v.Detail = summary(v.Slots)
	return v, nil
}

func slotView(in store.Instance, below Below, sites map[model.ClusterID]ClusterView) SlotView {
	seen, _ := below.Facts(in.ID)
	f := instance.Facts{Grant: in.Grant, Placement: seen.Placement, Observed: seen.Observed, Node: seen.Node}
	site := sites[in.Cluster]
	v := SlotView{Instance: in, Seen: seen, Site: site.Cluster, Stale: in.Cluster != "" && !site.Active}
	if in.Grant == 0 {
		f.Unplaced, v.Reasons = below.Waits(in.ID)
	}
	v.Word = instance.Status(f)
	if v.Word == instance.WordNoWorkerCapacity && in.Grant != 0 {
		v.object(below.Refusals(in.ID), sites)
	}
	v.Detail = detail(v, siteState{site, anyActive(sites)})
	return v
}

// object enters what clusters have against a slot.
func (v *SlotView) object(list []Refusal, sites map[model.ClusterID]ClusterView) {
	for _, r := range list {
		switch r.Cluster {
		case v.Cluster: // its own says so itself
		case "":
			v.barred = r.Reasons
		default:
			v.objections = append(v.objections, objection{cmp.Or(sites[r.Cluster].Name, string(r.Cluster)), r.Reasons})
		}
	}
}

func anyActive(sites map[model.ClusterID]ClusterView) bool {
	for _, s := range sites {
		if s.Active {
			return true
		}
	}
	return false
}
