package crash

import (
	"net/http"
	"testing"
	"time"

	"oakestra/test/stock"
)

// TestReopensWithManyServices: how fast is a matter for test/bench.
func TestReopensWithManyServices(t *testing.T) {
	const services, instances = 20_000, 2_000
	r := newRoot(t)
	stock.Fill(t, r.data, services, instances)
	r.start()
	took := r.serve(time.Minute)
	c := newClient(r, login(t, r))
	var seen service
	c.must(t, http.MethodGet, "/api/service/"+string(stock.ServiceID(services-10)), nil, &seen)
	if len(seen.Instances) != 1 || seen.Address == "" {
		t.Errorf("a stored service is shown as %+v", seen)
	}
	t.Logf("%d services and %d instances: ready %s after the start", services, instances, took.Round(time.Millisecond))
}
