package placement

// features gives each runtime, architecture and the overlay a bit. The 64th
// and later names share the last bit, which is set everywhere and so prunes
// nothing.
type features struct {
	bits map[string]uint64
}

const (
	networkFeature = "network"
	sharedBit      = uint64(1) << 63
)

func newFeatures() *features {
	return &features{bits: map[string]uint64{networkFeature: 1}}
}

func (f *features) bit(name string) uint64 {
	if b, ok := f.bits[name]; ok {
		return b
	}
	b := sharedBit
	if n := len(f.bits); n < 63 {
		b = 1 << n
	}
	f.bits[name] = b
	return b
}

// of is the mask of a candidate.
func (f *features) of(c Candidate) uint64 {
	mask := sharedBit
	for _, r := range c.Runtimes {
		mask |= f.bit("runtime " + r)
	}
	for _, a := range c.Architectures {
		mask |= f.bit("arch " + a)
	}
	if c.Network {
		mask |= f.bit(networkFeature)
	}
	return mask
}

// wanted is the mask a candidate must have; several architectures are a
// choice, which a mask cannot say.
func (f *features) wanted(r Request) uint64 {
	mask := uint64(0)
	if r.Runtime != "" {
		mask |= f.bit("runtime " + r.Runtime)
	}
	if len(r.Architectures) == 1 {
		mask |= f.bit("arch " + r.Architectures[0])
	}
	if r.Network {
		mask |= f.bit(networkFeature)
	}
	return mask
}
