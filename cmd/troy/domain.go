package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

func newDomainAdd(a *app) *cobra.Command {
	var noPair bool
	cmd := &cobra.Command{
		Use:   "add P HOST",
		Short: "Add a custom domain to a pipeline's site, and print the DNS records to set",
		Long: `Add a custom domain to a pipeline's site, and print the DNS records to set. With
an apex such as example.com Troy adds www.example.com too, and the reverse; the
added one redirects to HOST. Adding a domain again changes nothing.

If another pipeline has the domain, the error names a TXT record that proves
that you control its DNS. Set it and run the command again: the domain moves.`,
		Example: `  troy domain add blog www.example.com
  troy domain add blog '*.example.com'
  troy domain add blog example.com --no-pair`,
		Args: arguments(2, "a pipeline", "a domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return domainAdd(cmd.Context(), a, args[0], args[1], !noPair)
		},
	}
	cmd.Flags().BoolVar(&noPair, "no-pair", false, "do not add the other one of an apex and its www host")
	return cmd
}

func domainAdd(ctx context.Context, a *app, pipeline, host string, pair bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.AddDomain(ctx, pipeline, host, pair)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	normal, err := site.CustomHosts{}.Parse(host)
	if err != nil {
		normal = host
	}
	var names []string
	var records []client.DomainRecord
	for _, d := range list {
		if d.Host == normal || pair && d.Host == site.HostPair(normal) {
			names, records = append(names, domainName(d)), append(records, d.Records...)
		}
	}
	verb := "belongs"
	if len(names) > 1 {
		verb = "belong"
	}
	_, _ = fmt.Fprintf(a.err, "%s %s to %s.\n", strings.Join(names, " and "), verb, clean(pipeline))
	_, _ = fmt.Fprintf(a.err, "At the DNS provider of %s, set:\n", clean(site.HostZone(normal)))
	a.printRecords(records)
	_, _ = fmt.Fprintf(a.err, "Troy checks DNS by itself. To see what it finds, run:\ntroy domain show %s %s\n", clean(pipeline), clean(quoted(normal)))
	return nil
}

// domainName returns a domain for people: with the Unicode form, if it differs.
func domainName(d client.Domain) string {
	if d.Unicode != "" {
		return clean(d.Host) + " (" + clean(d.Unicode) + ")"
	}
	return clean(d.Host)
}

func (a *app) printRecords(records []client.DomainRecord) {
	rows := make([][]cell, len(records))
	for i, r := range records {
		found := cell{text: "no", colour: yellow}
		if r.Found {
			found = cell{text: "yes", colour: green}
		}
		rows[i] = []cell{{text: r.Type}, {text: r.Name}, {text: r.Value}, {text: fmt.Sprint(r.TTL)}, found, {text: r.FullName}}
	}
	a.out.table([]column{{title: "TYPE"}, {title: "NAME", least: 4, spill: 24}, {title: "VALUE", least: 20, spill: 44}, {title: "TTL"}, {title: "FOUND"}, {title: "FULL NAME", wide: true}}, rows)
}

func newDomainList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list P",
		Short: "List the custom domains of a pipeline's site",
		Args:  arguments(1, "a pipeline"),
		RunE:  func(cmd *cobra.Command, args []string) error { return domainList(cmd.Context(), a, args[0]) },
	}
}

func domainList(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.Domains(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintf(a.err, "No custom domains. To add one, run: troy domain add %s HOST\n", clean(pipeline))
		return nil
	}
	a.printDomains(list)
	return nil
}

func (a *app) printDomains(list []client.Domain) {
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, d := range list {
		rows[i] = []cell{{text: d.Host}, stateOf(d), {text: serves(d)}, {text: a.out.whenever(d.CheckedAt, now)}, {text: d.Reason}}
	}
	a.out.table([]column{{title: "DOMAIN", least: 12, spill: 40}, {title: "STATE"}, {title: "SERVES", least: 12}, {title: "CHECKED", optional: true}, {title: "REASON", wide: true}}, rows)
}

func stateOf(d client.Domain) cell {
	colour := map[troy.DomainState]string{troy.DomainActive: green, troy.DomainFailing: red}[d.State]
	if colour == "" {
		colour = yellow
	}
	return cell{text: d.StateName, colour: colour}
}

// serves says what visitors of a domain get.
func serves(d client.Domain) string {
	switch {
	case d.Redirect != "":
		return "a redirect to " + d.Redirect
	case d.Primary:
		return "the site (primary)"
	}
	return "the site"
}

func newDomainShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show P HOST",
		Short: "Show a custom domain: what is seen, what is expected and what to change",
		Args:  arguments(2, "a pipeline", "a domain"),
		RunE:  func(cmd *cobra.Command, args []string) error { return domainShow(cmd.Context(), a, args[0], args[1]) },
	}
}

func domainShow(ctx context.Context, a *app, pipeline, host string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.Domain(ctx, pipeline, host)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(d)
	}
	a.printDomain(pipeline, d)
	return nil
}

func (a *app) printDomain(pipeline string, d client.Domain) {
	now := time.Now()
	certificate := ""
	if d.Certificate != nil {
		certificate = d.Certificate.State
		if d.Certificate.NotAfter != nil {
			certificate += ", expires " + a.out.whenever(d.Certificate.NotAfter, now)
		}
		if d.Certificate.NextTry != nil {
			certificate += ", next try " + a.out.whenever(d.Certificate.NextTry, now)
		}
	}
	checked := "not yet"
	if d.CheckedAt != nil {
		checked = a.out.whenever(d.CheckedAt, now)
	}
	provider := ""
	if d.Report != nil {
		provider = d.Report.Provider.Name
	}
	a.out.view(field{"Domain", domainName(d)}, field{"Pipeline", pipeline}, field{"State", d.StateName + ", since " + a.out.when(d.Since, now)},
		field{"Serves", serves(d)}, field{"Certificate", certificate}, field{"Checked", checked}, field{"Next check", a.out.when(d.NextCheckAt, now)}, field{"DNS provider", provider})
	if d.Reason != "" {
		_, _ = fmt.Fprintf(a.out, "\n%s\n", wrapped(d.Reason, a.out.width))
	}
	_, _ = fmt.Fprintln(a.out, "\nRecords to set:")
	a.printRecords(d.Records)
	if d.Report != nil {
		a.printReport(*d.Report, d.Reason)
	}
}

// printReport prints what DNS said.
func (a *app) printReport(r client.DomainReport, reason string) {
	if len(r.Remove) > 0 {
		rows := make([][]cell, len(r.Remove))
		for i, x := range r.Remove {
			rows[i] = []cell{{text: x.Type}, {text: x.Name}, {text: x.Value}}
		}
		_, _ = fmt.Fprintln(a.out, "\nRecords to remove:")
		a.out.table([]column{{title: "TYPE"}, {title: "NAME", least: 4, spill: 24}, {title: "VALUE", least: 20, spill: 44}}, rows)
	}
	var rows [][]cell
	for _, x := range append(slices.Clone(r.Authoritative), r.Public...) {
		text := strings.ReplaceAll(x.Outcome, "_", " ")
		var seen []string
		for _, s := range x.Records {
			seen = append(seen, s.Type+" "+s.Value)
		}
		if len(seen) > 0 {
			text = strings.Join(seen, ", ")
		}
		right := cell{text: "no", colour: yellow}
		if x.Right {
			right = cell{text: "yes", colour: green}
		}
		rows = append(rows, []cell{{text: x.Server}, right, {text: text}})
	}
	if len(rows) > 0 {
		_, _ = fmt.Fprintln(a.out, "\nWhat DNS answers:")
		a.out.table([]column{{title: "SERVER", least: 12, spill: 30}, {title: "RIGHT"}, {title: "ANSWER", least: 20}}, rows)
	}
	for _, f := range r.Findings {
		if f.Sentence != reason {
			_, _ = fmt.Fprintf(a.out, "\n%s\n", wrapped(f.Sentence, a.out.width))
		}
	}
	if hint := r.Provider.Hint; hint != "" {
		_, _ = fmt.Fprintf(a.out, "\n%s\n", wrapped(hint, a.out.width))
	}
}

// wrapped breaks a server's text into lines of at most width columns.
func wrapped(text string, width int) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(clean(text)) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
