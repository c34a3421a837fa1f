package mongostore

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/bson"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

var update = flag.Bool("update", false, "write the golden file")

// fill sets every field of a value to something that is not zero, so that a
// field that a record forgets is noticed.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 30, 1, byte(*n)})))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1700000000, int64(*n)).UTC()))
		return
	case model.ServiceName:
		v.Set(reflect.ValueOf(model.ServiceName{App: "a", AppNamespace: "b", Service: "c", ServiceNamespace: fmt.Sprint("d", *n)}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.String:
		v.SetString(fmt.Sprint("text", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(1<<62 + uint64(*n))
	case reflect.Uint, reflect.Uint32, reflect.Uint16:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	default:
		panic("fill does not know " + v.Type().String())
	}
}

func filled[T any]() T {
	var v T
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

// through encodes a record, and decodes it into another one.
func through[R any](t *testing.T, r *R) *R {
	t.Helper()
	raw, err := bson.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var out R
	if err := bson.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func same[T any](t *testing.T, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Errorf("a field is lost or changed, want - got +\n%s", d)
	}
}

func TestRecordsKeepEveryField(t *testing.T) {
	t.Run("application", func(t *testing.T) {
		v := filled[model.Application]()
		same(t, through(t, fromApplication(v)).model(), v)
	})
	t.Run("service", func(t *testing.T) {
		v := filled[model.Service]()
		same(t, through(t, fromService(v)).model(), v)
	})
	t.Run("instance", func(t *testing.T) {
		v := filled[store.Instance]()
		v.Service = v.Service.Assigned() // what an instance keeps
		v.Grant |= 1 << 63               // an incarnation of the year 2038
		same(t, through(t, fromInstance(v)).model(), v)
	})
	t.Run("cluster", func(t *testing.T) {
		v := filled[store.Cluster]()
		same(t, through(t, fromCluster(v)).model(), v)
	})
	t.Run("user", func(t *testing.T) {
		v := filled[store.User]()
		same(t, through(t, fromUser(v)).model(), v)
	})
	t.Run("organization", func(t *testing.T) {
		v := filled[store.Organization]()
		same(t, through(t, fromOrganization(v)).model(), v)
	})
	t.Run("token", func(t *testing.T) {
		v := filled[store.Token]()
		same(t, through(t, fromToken(v)).model(), v)
	})
}

// The stored form may only change together with recordVersion; a field that
// may be absent may come.
func TestRecordsKeepTheirForm(t *testing.T) {
	records := []any{
		fromApplication(filled[model.Application]()), fromService(filled[model.Service]()), fromInstance(filled[store.Instance]()),
		fromCluster(filled[store.Cluster]()), fromUser(filled[store.User]()), fromOrganization(filled[store.Organization]()), fromToken(filled[store.Token]()),
		&claimRecord{Head{ID: "10.30.1.1", V: 1, Rev: 2, Term: 3}, "a.b.c.d", "2025-03-04T05:06:07Z", "s1", "s1/0000000002", "call"},
		&blocksRecord{Head{ID: blocksID}, []leaseFields{{"10.18.0.0/22", "c1"}}},
		&metaRecord{Head{ID: metaID}, formatVersion, 7, 8, true},
		&leaseRecord{Head{ID: "root"}, "h", "192.0.2.1:10000", 3, 4}, &keyRecord{Head{ID: "jwt"}, []byte("secret")},
		&commitRecord{Head{ID: "b1"}, []string{"a1"}}, &removalRecord{Head{ID: "r1"}, []string{"a1"}, []string{"s1"}, "2025-03-04T05:06:07Z"},
	}
	var got []byte
	for _, r := range records {
		line, err := bson.MarshalExtJSON(r, false, false)
		if err != nil {
			t.Fatal(err)
		}
		var pretty any
		if err := json.Unmarshal(line, &pretty); err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(map[string]any{fmt.Sprintf("%T", r): pretty}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, text...), '\n')
	}
	const path = "testdata/records.txt"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("the form of stored records changed (go test -update writes it), want - got +\n%s", d)
	}
}
