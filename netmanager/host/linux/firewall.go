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
		// A source that sends first packets faster is not held but refused, here
		// in the kernel: a scan would fill the queue before its reader sees it,
		// and then the first packets of everybody else would be refused.
		"mangle": {fmt.Sprintf("-A OAK-HOLD -m mark --mark %#x/%#x -m hashlimit --hashlimit-upto %d/sec --hashlimit-burst %d --hashlimit-mode srcip "+
			"--hashlimit-name oak-hold --hashlimit-htable-expire 10000 -j NFQUEUE --queue-num %d --queue-bypass",
			rules.HoldMark, rules.HoldMark, firstPerSource, firstPerSource, queue)},
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
// that has not moved proves that nothing is, without starting a program. It
// holds the lock all the while: a Remove in between would be undone.
func (f *firewall) recheck(generation func() (uint32, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tool == "" {
		return nil // nothing applied yet, or removed
	}
	now, err := generation()
	if err == nil && now == f.gen && !strings.Contains(f.tool, "legacy") {
		return nil
	}
	if err := f.write(f.node); err != nil {
		return err
	}
	f.gen, err = generation()
	return err
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
	return f.write(n)
}

// write needs the lock.
func (f *firewall) write(n rules.Node) error {
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
	exists := func(chain string) bool {
		return builtIn(chain) || slices.ContainsFunc(have, func(l string) bool { return strings.HasPrefix(l, ":"+chain+" ") })
	}
	if !strings.Contains(f.tool, "legacy") {
		// iptables-save prints built-in chains that are not there as well.
		there, err := chainsOf(table)
		if err != nil {
			return err
		}
		exists = func(chain string) bool { return slices.Contains(there, chain) }
	}
	script := tableScript(table, want, have, exists)
	if script == "" {
		return nil
	}
	_, err := run(f.tool+"-restore", "*"+table+"\n"+script+"COMMIT\n", "-w", "5", "--noflush")
	return err
}

// tableScript is what iptables-restore has to do, "" for nothing. A system
// chain that does not exist comes into being with its first rule, and is
// marked as made by us.
func tableScript(table string, want, have []string, exists func(chain string) bool) string {
	foreign := func(line string) bool { return !strings.HasPrefix(line, "-A OAK-") }
	rewrite := !slices.Equal(slices.DeleteFunc(slices.Clone(have), foreign), sortedByChain(want))
	declared := map[string]bool{}
	var chains, lines strings.Builder
	for _, j := range jumps {
		if j.table != table {
			continue
		}
		// Declaring a chain empties it; the whole script is one transaction.
		if rewrite && !declared[j.to] {
			declared[j.to] = true
			fmt.Fprintf(&chains, ":%s - [0:0]\n", j.to)
		}
		if !exists(j.from) {
			if !builtIn(j.from) {
				continue
			}
			fmt.Fprintf(&chains, ":%s%s - [0:0]\n", madeMark, j.from)
		}
		if !slices.Contains(have, j.line()) {
			fmt.Fprintf(&lines, "-I %s 1 -j %s\n", j.from, j.to)
		}
	}
	if rewrite {
		lines.WriteString(strings.Join(want, "\n") + "\n")
	}
	return chains.String() + lines.String()
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
// its mind since. System chains that came into being for us go as well, unless
// somebody uses them by now. Tables of the legacy variant cannot be unloaded.
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
			// Without -t: asking the legacy variant for a table loads it.
			have, err := run(tool+"-save", "")
			if err != nil {
				all = errors.Join(all, err)
				continue
			}
			for _, table := range []string{"filter", "mangle"} {
				made, err := removeFrom(tool, table, section(have, table))
				if err == nil && tool == "iptables-nft" {
					err = dropEmpty(table, made)
				}
				all = errors.Join(all, err)
			}
		}
		return all
	})
}

// section is what iptables-save printed of one table.
func section(saved, table string) string {
	_, rest, found := strings.Cut(saved, "*"+table+"\n")
	if !found {
		return ""
	}
	body, _, _ := strings.Cut(rest, "\nCOMMIT")
	return body
}

// removeFrom takes our chains out and returns the system chains we had made.
func removeFrom(tool, table, have string) (made []string, err error) {
	var script strings.Builder
	var chains []string
	for line := range strings.Lines(have) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ":OAK-"):
			name := strings.Fields(line[1:])[0]
			chains = append(chains, name)
			if from, ok := strings.CutPrefix(name, madeMark); ok {
				made = append(made, from)
			}
		case strings.Contains(line, "-j OAK-"):
			fmt.Fprintln(&script, "-D"+strings.TrimPrefix(line, "-A"))
		}
	}
	if len(chains) == 0 {
		return nil, nil
	}
	for _, c := range chains {
		fmt.Fprintf(&script, "-F %s\n", c)
	}
	for _, c := range chains {
		fmt.Fprintf(&script, "-X %s\n", c)
	}
	_, err = run(tool+"-restore", "*"+table+"\n"+script.String()+"COMMIT\n", "-w", "5", "--noflush")
	return made, err
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
