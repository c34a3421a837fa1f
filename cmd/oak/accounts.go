package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// send is a command's one request; with --json its answer is printed.
func (a *app) send(cmd *cobra.Command, method, route string, body, answer any) error {
	c, err := a.signedIn(cmd.Context())
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.do(cmd.Context(), method, route, body, &raw); err != nil {
		return err
	}
	if a.json {
		fmt.Fprintln(a.out, strings.TrimSpace(string(raw)))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(raw, answer)
}

// secret asks for a password, or takes it from the environment.
func secret(cmd *cobra.Command, variable, what string) (string, error) {
	if v := os.Getenv(variable); v != "" {
		return v, nil
	}
	fmt.Fprintf(os.Stderr, "%s: ", what)
	in, buffered := cmd.InOrStdin().(*bufio.Reader) // a second one would lose the lines the first has read
	if !buffered {
		in = bufio.NewReader(cmd.InOrStdin())
		cmd.SetIn(in)
	}
	line, err := in.ReadString('\n')
	if err != nil && line == "" {
		return "", errors.New("no password given; type it or set " + variable)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func userCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Aliases: []string{"users"}, Short: "add, change and remove users"}
	ls := &cobra.Command{Use: "list [ORGANIZATION]", Aliases: []string{"ls"}, Short: "list users, all or those of an organization", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			route := "/api/users/"
			if len(args) == 1 {
				route += url.PathEscape(args[0])
			}
			return list(a, cmd, route, "NAME\tROLES\tEMAIL\tORGANIZATION\tID", func(v userView) [][]any {
				return [][]any{{v.Name, strings.Join(v.Roles, ","), v.Email, v.Organization, v.ID.OID}}
			})
		}}
	rm := &cobra.Command{Use: "rm USER", Aliases: []string{"delete"}, Short: "remove a user who owns no applications", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.send(cmd, http.MethodDelete, "/api/user/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			a.say("user %s removed", args[0])
			return nil
		}}
	cmd.AddCommand(ls, userAddCommand(a), userSetCommand(a), rm, passwordCommand(a))
	return cmd
}

const rolesHelp = "Admin, Organization_Admin, Application_Provider or Infrastructure_Provider, with commas between"

func userAddCommand(a *app) *cobra.Command {
	var email, organization string
	var roles []string
	cmd := &cobra.Command{Use: "add USER", Short: "register a user", Args: cobra.ExactArgs(1),
		Long:    "Asks for the password of the new user, or reads $OAK_NEW_PASSWORD.",
		Example: "  oak user add ann --email ann@example.org\n  oak user add ops --roles Infrastructure_Provider",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := secret(cmd, "OAK_NEW_PASSWORD", "password of the new user "+args[0])
			if err != nil {
				return err
			}
			body := map[string]any{"name": args[0], "password": password, "email": email, "organization": organization}
			if cmd.Flags().Changed("roles") {
				body["roles"] = roles
			}
			if err := a.send(cmd, http.MethodPost, "/api/auth/register", body, nil); err != nil {
				return err
			}
			a.say("user %s registered", args[0])
			return nil
		}}
	cmd.Flags().StringVar(&email, "email", "", "where a new password can be asked for")
	cmd.Flags().StringVar(&organization, "org", "", "name or id of the organization (default: yours)")
	cmd.Flags().StringSliceVar(&roles, "roles", nil, rolesHelp+" (default Application_Provider)")
	return cmd
}

func userSetCommand(a *app) *cobra.Command {
	var email string
	var roles []string
	var password bool
	cmd := &cobra.Command{Use: "set USER", Short: "change email, roles or password of a user", Args: cobra.ExactArgs(1),
		Long: "With --password it asks for a new one, or reads $OAK_NEW_PASSWORD; the user's logins and API tokens end. To change your own email, set $OAK_PASSWORD.",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if cmd.Flags().Changed("email") {
				body["email"], body["oldPassword"] = email, os.Getenv("OAK_PASSWORD")
			}
			if cmd.Flags().Changed("roles") {
				body["roles"] = roles
			}
			if password {
				fresh, err := secret(cmd, "OAK_NEW_PASSWORD", "new password of "+args[0])
				if err != nil {
					return err
				}
				body["password"] = fresh
			}
			if len(body) == 0 {
				return errors.New("nothing to change; use --email, --roles or --password")
			}
			if err := a.send(cmd, http.MethodPut, "/api/user/"+url.PathEscape(args[0]), body, nil); err != nil {
				return err
			}
			a.say("user %s changed", args[0])
			return nil
		}}
	cmd.Flags().StringVar(&email, "email", "", "address")
	cmd.Flags().StringSliceVar(&roles, "roles", nil, rolesHelp)
	cmd.Flags().BoolVar(&password, "password", false, "set a new password")
	return cmd
}

func passwordCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "password USER", Short: "change your own password", Args: cobra.ExactArgs(1),
		Long: "Asks for both passwords, or reads $OAK_PASSWORD and $OAK_NEW_PASSWORD. Logins made before end; API tokens go on.",
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := secret(cmd, "OAK_PASSWORD", "present password of "+args[0])
			if err != nil {
				return err
			}
			fresh, err := secret(cmd, "OAK_NEW_PASSWORD", "new password")
			if err != nil {
				return err
			}
			c := newClient(a.root)
			if err := c.login(cmd.Context(), args[0], old); err != nil {
				return err
			}
			body := map[string]string{"oldPassword": old, "newPassword": fresh}
			if err := c.do(cmd.Context(), http.MethodPost, "/api/user/"+url.PathEscape(args[0]), body, nil); err != nil {
				return err
			}
			a.say("password changed; log in again with: oak login %s", args[0])
			return nil
		}}
}

func orgCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "org", Aliases: []string{"organization"}, Short: "group users into organizations"}
	ls := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "list organizations", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(a, cmd, "/api/organization/", "NAME\tMEMBERS\tID", func(v orgView) [][]any {
				return [][]any{{v.Name, len(v.Members), v.ID.OID}}
			})
		}}
	var members []string
	add := &cobra.Command{Use: "add NAME", Short: "make an organization", Args: cobra.ExactArgs(1),
		Example: "  oak org add lab --member ann=Organization_Admin,Application_Provider --member bob=Application_Provider",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"name": args[0], "member": memberList(members)}
			if err := a.send(cmd, http.MethodPost, "/api/organization/", body, nil); err != nil {
				return err
			}
			a.say("organization %s made", args[0])
			return nil
		}}
	add.Flags().StringArrayVar(&members, "member", nil, "USER=ROLE,ROLE; can be given again")
	rm := &cobra.Command{Use: "rm NAME", Aliases: []string{"delete"}, Short: "remove an organization (name or id)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.send(cmd, http.MethodDelete, "/api/organization/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			a.say("organization %s removed", args[0])
			return nil
		}}
	cmd.AddCommand(ls, add, orgSetCommand(a), rm)
	return cmd
}

func orgSetCommand(a *app) *cobra.Command {
	var name string
	var members []string
	cmd := &cobra.Command{Use: "set NAME", Short: "change the name or the members of an organization (name or id)", Args: cobra.ExactArgs(1),
		Long: "The members given replace all there were; of the organization root, the roles of those given are set and the others stay.",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if name != "" {
				body["name"] = name
			}
			if cmd.Flags().Changed("member") {
				body["member"] = memberList(members)
			}
			if len(body) == 0 {
				return errors.New("nothing to change; use --name or --member")
			}
			if err := a.send(cmd, http.MethodPut, "/api/organization/"+url.PathEscape(args[0]), body, nil); err != nil {
				return err
			}
			a.say("organization %s changed", args[0])
			return nil
		}}
	cmd.Flags().StringVar(&name, "name", "", "new name")
	cmd.Flags().StringArrayVar(&members, "member", nil, "USER=ROLE,ROLE; can be given again")
	return cmd
}

// memberList reads USER=ROLE,ROLE.
func memberList(texts []string) []map[string]any {
	out := []map[string]any{}
	for _, t := range texts {
		user, roles, _ := strings.Cut(t, "=")
		out = append(out, map[string]any{"user_id": user, "roles": strings.FieldsFunc(roles, func(r rune) bool { return r == ',' })})
	}
	return out
}

func tokenCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Aliases: []string{"tokens"}, Short: "make and revoke API tokens for programs",
		Long: `A program sends an API token as it would the token of a login, or sets $OAK_TOKEN
for oak. A token does what its scopes name and never more than its owner may:

  read    look at applications, services, clusters and nodes
  deploy  and create, change and delete applications and services
  admin   and everything else, but not make tokens`}
	var scopes []string
	var expires string
	create := &cobra.Command{Use: "create NAME", Aliases: []string{"add"}, Short: "make a token and print it, once", Args: cobra.ExactArgs(1),
		Example: "  oak token create ci --scope deploy --expires 720h\n  export OAK_TOKEN=$(oak token create ci --scope read --expires never)",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"name": args[0], "scopes": scopes}
			if expires == "never" {
				body["expires_at"] = expires
			} else if expires != "" {
				d, err := time.ParseDuration(expires)
				if err != nil {
					return fmt.Errorf("--expires %q: want a duration such as 720h, or never", expires)
				}
				body["expires_at"] = time.Now().Add(d).UTC().Format(time.RFC3339)
			}
			var made struct {
				Token string `json:"token"`
			}
			if err := a.send(cmd, http.MethodPost, "/api/tokens", body, &made); err != nil {
				return err
			}
			a.say("%s", made.Token)
			return nil
		}}
	create.Flags().StringSliceVar(&scopes, "scope", []string{"read"}, "read, deploy or admin")
	create.Flags().StringVar(&expires, "expires", "", "duration, or never (default 90 days)")
	ls := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "list your tokens", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(a, cmd, "/api/tokens", "NAME\tSCOPES\tEXPIRES\tLAST USED\tBEGINS WITH\tID", func(v tokenView) [][]any {
				return [][]any{{v.Name, strings.Join(v.Scopes, ","), v.Expires, v.Used, v.Prefix, v.ID}}
			})
		}}
	revoke := &cobra.Command{Use: "revoke TOKEN", Aliases: []string{"rm", "delete"}, Short: "end a token at once (name or id)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.send(cmd, http.MethodDelete, "/api/tokens/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			a.say("token %s revoked", args[0])
			return nil
		}}
	cmd.AddCommand(create, ls, revoke)
	return cmd
}

func logoutCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "logout", Short: "end the login that \"oak login\" remembers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := loadLogin()
			if err != nil {
				return errors.New("there is no login to end")
			}
			c := newClient(l.Root)
			c.token = l.Token
			if !c.usable(cmd.Context()) {
				c.token = l.Refresh
				c.refresh(cmd.Context())
			}
			endErr := c.do(cmd.Context(), http.MethodPost, "/api/auth/logout", nil, nil)
			if file, err := loginFile(); err == nil {
				_ = os.Remove(file)
			}
			var refused *apiError
			if errors.As(endErr, &refused) {
				endErr = nil // it was over already
			}
			if endErr == nil {
				a.say("logged out of %s", l.Root)
			}
			return endErr
		}}
}

// The parts of the root's answers that the commands above show.

type objectID struct {
	OID string `json:"$oid"`
}

type userView struct {
	ID           objectID `json:"_id"`
	Name         string   `json:"name"`
	Email        string   `json:"email"`
	Roles        []string `json:"roles"`
	Organization string   `json:"organization"`
}

type orgView struct {
	ID      objectID         `json:"_id"`
	Name    string           `json:"name"`
	Members []map[string]any `json:"member"`
}

type tokenView struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Prefix  string   `json:"prefix"`
	Scopes  []string `json:"scopes"`
	Expires string   `json:"expires_at"`
	Used    string   `json:"last_used"`
}
