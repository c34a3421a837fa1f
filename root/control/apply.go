package control

import (
	"context"
	"fmt"
	"slices"

	"oakestra/pkg/core/model"
	"oakestra/pkg/core/sla"
	"oakestra/root/store"
)

// Item is one application or service that Apply looked at.
type Item struct {
	Kind string // "application" or "service"
	Name string // name.namespace, or the job name
	ID   string // "" for what a dry run would create
	What string // what changes, or why nothing does
}

// Applied is what Apply did, or would do.
type Applied struct {
	Created, Changed, Left []Item
	Warnings               []sla.Warning
}

// application is what Apply makes of one application of a descriptor.
type application struct {
	want  sla.Application
	home  model.Application
	known bool
	fresh []sla.Service
	moved []moved
	scale []scaling
}

// moved is a service that changes.
type moved struct {
	now  model.Service
	want sla.Service
}

// scaling is a service that gets another number of instances.
type scaling struct {
	name     model.ServiceName
	id       model.ServiceID // "" until it is created
	replicas int
}

// Apply makes the caller's applications what a descriptor says: it creates
// what is missing, changes what differs, and leaves everything else. Nothing
// is deleted. The descriptor is checked as a whole before anything is stored;
// applying it twice changes nothing the second time, so a failure of the store
// in between is mended by applying again. dry only looks. Errors as of
// CreateApplications and UpdateService.
func (c *Control) Apply(ctx context.Context, who Caller, body []byte, dry bool) (Applied, error) {
	if err := c.writable(); err != nil {
		return Applied{}, err
	}
	req, warnings, err := sla.Parse(body)
	if err != nil {
		return Applied{}, err
	}
	done, err := c.inTurn(ctx)
	if err != nil {
		return Applied{}, err
	}
	defer done()
	out := Applied{Warnings: warnings}
	plan, err := c.compare(ctx, who, req, &out)
	if err != nil {
		return Applied{}, err
	}
	created, err := c.create(ctx, plan, dry)
	if err != nil {
		return Applied{}, err
	}
	out.created(plan, created, dry)
	if dry {
		return out, nil
	}
	if err := c.carryOut(ctx, who, plan, created); err != nil {
		return Applied{}, err
	}
	c.log.Info("descriptor applied", "created", len(out.Created), "changed", len(out.Changed), "left", len(out.Left), "user", who.Name)
	return out, nil
}

// compare finds out what differs.
func (c *Control) compare(ctx context.Context, who Caller, req sla.Descriptor, out *Applied) ([]application, error) {
	apps, err := c.store.Applications().List(ctx, who.Name)
	if err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	var plan []application
	for _, want := range req.Applications {
		a := application{want: want, home: model.Application{
			ID: model.ApplicationID(c.ids.next(c.now())), Name: want.Name, Namespace: want.Namespace, Description: want.Description, Owner: who.Name,
		}}
		i := slices.IndexFunc(apps, func(k model.Application) bool { return k.Name == want.Name && k.Namespace == want.Namespace })
		if i >= 0 {
			a.known, a.home = true, apps[i]
			item := Item{Kind: "application", Name: want.Name + "." + want.Namespace, ID: string(a.home.ID)}
			if want.Description != "" && want.Description != a.home.Description {
				item.What = "application_desc"
				out.Changed = append(out.Changed, item)
			} else {
				item.What = "the same"
				out.Left = append(out.Left, item)
			}
		}
		if err := c.compareServices(ctx, &a, out); err != nil {
			return nil, err
		}
		plan = append(plan, a)
	}
	return plan, nil
}

func (c *Control) compareServices(ctx context.Context, a *application, out *Applied) error {
	var have []model.Service
	if a.known {
		var err error
		if have, err = c.store.Services().List(ctx, a.home.ID); err != nil {
			return fmt.Errorf("services of application %s: %w", a.home.ID, err)
		}
	}
	mentioned := map[model.ServiceID]bool{}
	for _, want := range a.want.Services {
		name := jobName(a.home, want)
		i := slices.IndexFunc(have, func(s model.Service) bool { return s.Name == name })
		if i < 0 {
			a.fresh = append(a.fresh, want)
			if want.Replicas != nil {
				a.scale = append(a.scale, scaling{name: name, replicas: *want.Replicas})
			}
			continue
		}
		now := have[i]
		mentioned[now.ID] = true
		if err := c.compareService(ctx, a, now, want, out); err != nil {
			return err
		}
	}
	for _, s := range have {
		if !mentioned[s.ID] {
			out.Left = append(out.Left, Item{"service", s.Name.String(), string(s.ID), "not in the descriptor"})
		}
	}
	return nil
}

func (c *Control) compareService(ctx context.Context, a *application, now model.Service, want sla.Service, out *Applied) error {
	if err := sameAddress(now, want); err != nil {
		return err
	}
	what := Differences(now.Spec, want.Spec)
	if len(what) > 0 {
		a.moved = append(a.moved, moved{now, want})
	}
	if want.Replicas != nil {
		slots, err := c.slots(ctx, now.ID)
		if err != nil {
			return err
		}
		if len(slots) != *want.Replicas {
			what = append(what, fmt.Sprintf("replicas %d to %d", len(slots), *want.Replicas))
			a.scale = append(a.scale, scaling{now.Name, now.ID, *want.Replicas})
		}
	}
	item := Item{"service", now.Name.String(), string(now.ID), joinWhat(what)}
	if len(what) > 0 {
		out.Changed = append(out.Changed, item)
	} else {
		out.Left = append(out.Left, item)
	}
	return nil
}

// create stores what is new, as one descriptor; a dry run only sees whether
// its addresses could be had.
func (c *Control) create(ctx context.Context, plan []application, dry bool) (store.Descriptor, error) {
	var req sla.Descriptor
	var homes []model.Application
	var d store.Descriptor
	for _, a := range plan {
		want := a.want
		want.Services = a.fresh
		req.Applications, homes = append(req.Applications, want), append(homes, a.home)
		if !a.known {
			d.Applications = append(d.Applications, a.home)
		}
	}
	if !dry && len(d.Applications) == 0 && !slices.ContainsFunc(plan, func(a application) bool { return len(a.fresh) > 0 }) {
		return d, nil
	}
	if !dry {
		return d, c.commit(ctx, req, homes, &d)
	}
	err := c.choose(ctx, req, homes, &d)
	for _, s := range d.Services {
		c.addresses.Cancel(s.Address)
	}
	return d, err
}

// created lists what is new; what a dry run made up has no id.
func (out *Applied) created(plan []application, d store.Descriptor, dry bool) {
	id := func(s string) string {
		if dry {
			return ""
		}
		return s
	}
	for _, a := range plan {
		if !a.known {
			out.Created = append(out.Created, Item{"application", a.home.Name + "." + a.home.Namespace, id(string(a.home.ID)), "new"})
		}
		for _, s := range d.Services {
			if s.Application == a.home.ID {
				out.Created = append(out.Created, Item{"service", s.Name.String(), id(string(s.ID)), "new"})
			}
		}
	}
}

// carryOut changes what exists and brings services to their numbers.
func (c *Control) carryOut(ctx context.Context, who Caller, plan []application, created store.Descriptor) error {
	ids := map[model.ServiceName]model.ServiceID{}
	for _, s := range created.Services {
		ids[s.Name] = s.ID
	}
	for _, a := range plan {
		if a.known && a.want.Description != "" && a.want.Description != a.home.Description {
			_, err := c.store.Applications().Update(ctx, a.home.ID, func(v model.Application) (model.Application, error) {
				v.Description = a.want.Description
				return v, nil
			})
			if err != nil {
				return fmt.Errorf("change application %s: %w", a.home.ID, err)
			}
		}
		for _, m := range a.moved {
			_, err := c.change(ctx, who, m.now.ID, "service updated", func(model.Service) (model.ServiceSpec, error) { return m.want.Spec, nil })
			if err != nil {
				return err
			}
		}
		for _, s := range a.scale {
			if s.id == "" {
				s.id = ids[s.name]
			}
			if _, err := c.scale(ctx, s.id, s.replicas); err != nil {
				return err
			}
		}
	}
	return nil
}
