package command

import (
	"context"
	"fmt"
	"net"
)

// simorg runs the simulated org alone.
func simorg(p *Program, ctx context.Context, args []string) error {
	f := flags("simorg")
	var o SimOrgOptions
	listen := f.String("listen", "127.0.0.1:8090", say("simorg.listen"))
	f.Int64Var(&o.Seed, "seed", 1, say("simorg.seed"))
	f.IntVar(&o.Leads, "leads", 10_000, say("simorg.leads"))
	f.IntVar(&o.WideLeads, "wide-leads", 0, say("simorg.wide_leads"))
	f.IntVar(&o.Contacts, "contacts", 5_000, say("simorg.contacts"))
	f.IntVar(&o.Accounts, "accounts", 0, say("simorg.accounts"))
	f.IntVar(&o.Tasks, "tasks", 40_000, say("simorg.tasks"))
	f.IntVar(&o.Events, "events", 10_000, say("simorg.events"))
	f.IntVar(&o.LifePerMinute, "life", 0, say("simorg.life"))
	f.BoolVar(&o.Plain, "plain", false, say("simorg.plain"))
	f.StringVar(&o.StateFile, "state-file", "", say("simorg.state_file"))
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("command.no_arguments", "got", rest[0])
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.Out, say("simorg.ready", "url", "http://"+l.Addr().String(), "client_id", p.SimOrgClientID, "client_secret", p.SimOrgClientSecret))
	return p.SimOrg(ctx, l, o)
}
