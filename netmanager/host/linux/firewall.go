package linux

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

// firewall is the iptables side: what must stand in the chains that other
// firewalls own, because a packet dropped there cannot be taken back elsewhere.
type firewall struct {
	queue uint16
	in    func(func() error) error

	mu   sync.Mutex
	node rules.Node // as of the last Apply; zero before
	gen  uint32     // nftables generation of the last look
	tool string
}

// jump leads from a chain of the system to one of ours.
type jump struct{ table, from, to string }

var jumps = []jump{
	{"filter", "FORWARD", "OAK-FORWARD"}, {"filter", "DOCKER-USER", "OAK-FORWARD"}, {"filter", "INPUT", "OAK-INPUT"},
	{"mangle", "PREROUTING", "OAK-HOLD"}, {"mangle", "OUTPUT", "OAK-HOLD"},
}

// firewallRules are our chains as iptables-save prints them.
func firewallRules(queue uint16, n rules.Node) map[string][]string {
	port := n.Port
	if port == 0 {
		port = rules.DefaultPort
	}
	forward := []string{
		"-A OAK-FORWARD -i oakbr0 -j ACCEPT",
		"-A OAK-FORWARD -i oakvx0 -o oakbr0 -j ACCEPT",
		"-A OAK-FORWARD -o oakbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-A OAK-FORWARD -o oakbr0 -m conntrack --ctstate DNAT -j ACCEPT",
	}
	if n.Direct {
		forward = append(forward, "-A OAK-FORWARD -s 10.18.0.0/15 -o oakbr0 -j ACCEPT", "-A OAK-FORWARD -s 10.20.0.0/14 -o oakbr0 -j ACCEPT",
			"-A OAK-FORWARD -s 10.24.0.0/14 -o oakbr0 -j ACCEPT", "-A OAK-FORWARD -s 10.28.0.0/15 -o oakbr0 -j ACCEPT")
	}
	return map[string][]string{
		"filter": append(forward,
			fmt.Sprintf("-A OAK-INPUT -p udp -m udp --dport %d -j ACCEPT", port),
			"-A OAK-INPUT -i oakvx0 -j ACCEPT",
			"-A OAK-INPUT -i oakbr0 -p udp -m udp --dport 53 -j ACCEPT",
			"-A OAK-INPUT -i oakbr0 -p tcp -m tcp --dport 53 -j ACCEPT"),
		"mangle": {fmt.Sprintf("-A OAK-HOLD -m mark --mark %#x/%#x -j NFQUEUE --queue-num %d --queue-bypass", rules.HoldMark, rules.HoldMark, queue)},
	}
}

func (h *Host) watchFirewall(ctx context.Context) error {
	tick := time.NewTicker(h.cfg.Recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := h.fw.recheck(h.table.generationNow); err != nil {
				h.log.Warn("iptables rules", "err", err)
			}
		}
	}
}

// recheck puts back what is missing. With iptables on nf_tables, a generation
// that has not moved proves that nothing is, without starting a program.
func (f *firewall) recheck(generation func() (uint32, error)) error {
	f.mu.Lock()
	node, tool, gen := f.node, f.tool, f.gen
	f.mu.Unlock()
	if tool == "" {
		return nil // nothing applied yet
	}
	now, err := generation()
	if err == nil && now == gen && !strings.Contains(tool, "legacy") {
		return nil
	}
	if err := f.ensure(node); err != nil {
		return err
	}
	if now, err = generation(); err != nil {
		return err
	}
	f.mu.Lock()
	f.gen = now
	f.mu.Unlock()
	return nil
}

// stands says whether the rules were made for this node.
func (f *firewall) stands(n rules.Node) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tool != "" && f.node == n
}

// ensure compares with what iptables-save prints and writes only what differs.
func (f *firewall) ensure(n rules.Node) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.in(func() error {
		if f.tool == "" {
			f.tool = detect()
		}
		want := firewallRules(f.queue, n)
		for _, table := range []string{"filter", "mangle"} {
			have, err := run(f.tool+"-save", "", "-t", table)
			if err != nil {
				return err
			}
			if err := f.ensureTable(table, want[table], strings.Split(have, "\n")); err != nil {
				return err
			}
		}
		f.node = n
		return nil
	})
}

func (f *firewall) ensureTable(table string, want, have []string) error {
	ours := func(line string) bool { return !strings.HasPrefix(line, "-A OAK-") }
	var script strings.Builder
	if !slices.Equal(slices.DeleteFunc(slices.Clone(have), ours), sortedByChain(want)) {
		// Declaring a chain empties it; the whole script is one transaction.
		for _, j := range jumps {
			if j.table == table && !strings.Contains(script.String(), ":"+j.to+" ") {
				fmt.Fprintf(&script, ":%s - [0:0]\n", j.to)
			}
		}
		script.WriteString(strings.Join(want, "\n") + "\n")
	}
	for _, j := range jumps {
		if j.table == table && slices.ContainsFunc(have, func(l string) bool { return strings.HasPrefix(l, ":"+j.from+" ") }) &&
			!slices.Contains(have, j.line()) {
			fmt.Fprintf(&script, "-I %s 1 -j %s\n", j.from, j.to)
		}
	}
	// A table that nothing has used yet prints no chains, but has the built-in ones.
	if !slices.Contains(have, "*"+table) {
		script.Reset()
		for _, j := range jumps {
			if j.table == table && j.from != "DOCKER-USER" {
				if !strings.Contains(script.String(), ":"+j.to+" ") {
					fmt.Fprintf(&script, ":%s - [0:0]\n", j.to)
				}
				fmt.Fprintf(&script, "-I %s 1 -j %s\n", j.from, j.to)
			}
		}
		script.WriteString(strings.Join(want, "\n") + "\n")
	}
	if script.Len() == 0 {
		return nil
	}
	_, err := run(f.tool+"-restore", "*"+table+"\n"+script.String()+"COMMIT\n", "-w", "5", "--noflush")
	return err
}

func (j jump) line() string { return "-A " + j.from + " -j " + j.to }

// sortedByChain is the order of iptables-save: chains by name, rules as written.
func sortedByChain(lines []string) []string {
	out := slices.Clone(lines)
	slices.SortStableFunc(out, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1])
	})
	return out
}

// remove takes our chains out of both variants: the machine may have changed
// its mind since.
func (f *firewall) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tool, f.node, f.gen = "", rules.Node{}, 0
	return f.in(func() error {
		var all error
		for _, tool := range []string{"iptables-nft", "iptables-legacy"} {
			if _, err := exec.LookPath(tool + "-save"); err != nil {
				continue
			}
			for _, table := range []string{"filter", "mangle"} {
				all = errors.Join(all, removeFrom(tool, table))
			}
		}
		return all
	})
}

func removeFrom(tool, table string) error {
	have, err := run(tool+"-save", "", "-t", table)
	if err != nil || !strings.Contains(have, ":OAK-") {
		return err
	}
	var script strings.Builder
	var chains []string
	for line := range strings.Lines(have) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ":OAK-"):
			chains = append(chains, strings.Fields(line[1:])[0])
		case strings.Contains(line, "-j OAK-"):
			fmt.Fprintln(&script, "-D"+strings.TrimPrefix(line, "-A"))
		}
	}
	for _, c := range chains {
		fmt.Fprintf(&script, "-F %s\n", c)
	}
	for _, c := range chains {
		fmt.Fprintf(&script, "-X %s\n", c)
	}
	_, err = run(tool+"-restore", "*"+table+"\n"+script.String()+"COMMIT\n", "-w", "5", "--noflush")
	return err
}

// detect picks the variant that holds the machine's rules: rules of one are
// seen by the other's user as if they were not there.
func detect() string {
	most, best := 0, "iptables"
	for _, tool := range []string{"iptables-nft", "iptables-legacy"} {
		out, err := run(tool+"-save", "")
		if err != nil {
			continue
		}
		if n := strings.Count(out, "\n-A "); n > most {
			most, best = n, tool
		}
	}
	if best == "iptables" {
		if out, err := run("iptables", "", "-V"); err == nil && strings.Contains(out, "legacy") {
			return "iptables-legacy"
		}
	}
	return best
}

func run(name, input string, arg ...string) (string, error) {
	cmd := exec.Command(name, arg...)
	cmd.Stdin = strings.NewReader(input)
	var out, problem strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %w: %s", name, strings.Join(arg, " "), errs.Unavailable, err, strings.TrimSpace(problem.String()))
	}
	return out.String(), nil
}
