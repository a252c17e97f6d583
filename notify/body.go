package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/troy-iaas/troy"
)

// words says in plain text what happened: a title, lines below it, and the
// address of the page about it. All come from outside, so each is one line.
func (m Message) words() (title string, lines []string, page string, err error) {
	var d Details
	if err := json.Unmarshal(m.Details, &d); err != nil {
		return "", nil, "", fmt.Errorf("read the details of notification %s: %w", m.ID, err)
	}
	name := "Troy"
	if d.Pipeline != nil {
		name = line(d.Pipeline.Name, 100)
	}
	title = name + ": " + m.Event
	add := func(text string) {
		if text = line(text, 400); text != "" {
			lines = append(lines, text)
		}
	}
	switch {
	case m.Event == Test:
		title = name + ": this is a test"
		add("Notifications from Troy arrive here.")
	case d.Deployment != nil:
		form := map[string]string{
			"deployment.failed": "%s: deployment %d failed", "deployment.live": "%s: deployment %d is live",
			"deployment.recovered": "%s has recovered: deployment %d is live",
		}[m.Event]
		title = fmt.Sprintf(form, name, d.Deployment.Number)
		add(d.Deployment.Cause)
		if d.Deployment.Commit != "" {
			subject, _, _ := strings.Cut(d.Deployment.Message, "\n")
			about := []string{fmt.Sprintf("%.7s", d.Deployment.Commit), d.Deployment.Branch, d.Deployment.Author}
			add(strings.Join(slices.DeleteFunc(about, func(text string) bool { return text == "" }), ", "))
			add(subject)
		}
	case d.Preview != nil:
		title = name + ": a pull request waits for approval"
		add(fmt.Sprintf("#%d %s", d.Preview.Number, d.Preview.Title))
		add(fmt.Sprintf("%.7s by %s", d.Preview.Commit, d.Preview.Author))
	case d.Domain != nil:
		title = fmt.Sprintf("%s: the domain %s is failing", name, line(d.Domain.Host, 253))
		add(d.Domain.Reason)
	case d.Storage != nil:
		title = fmt.Sprintf("%s uses %d%% of its quota", name, d.Storage.Percent())
		if d.Storage.QuotaBytes > 0 {
			add(fmt.Sprintf("%s of %s", troy.Size(d.Storage.Bytes), troy.Size(d.Storage.QuotaBytes)))
		}
		if d.Storage.QuotaFiles > 0 {
			add(fmt.Sprintf("%d of %d files", d.Storage.Files, d.Storage.QuotaFiles))
		}
		add("Remove earlier deployments with troy deployment prune, or ask the operator for a higher quota.")
	case d.Notifier != nil:
		title = fmt.Sprintf("%s: notifications to %s (%s) are disabled", name, line(d.Notifier.Label, 200), d.Notifier.Kind)
		add(d.Notifier.Reason)
	}
	return title, lines, m.page(d), nil
}

// line makes one line of at most n characters of a text from outside.
func line(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) { // also characters that change the text's direction
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return troy.Cut(strings.Join(strings.Fields(text), " "), n)
}

// Body returns what is sent to a target of the kind, except for e-mail.
func (m Message) Body(kind Kind) ([]byte, error) {
	title, lines, page, err := m.words()
	if err != nil {
		return nil, err
	}
	switch kind {
	case Slack:
		text := slackText.Replace(strings.Join(append([]string{title}, lines...), "\n"))
		return json.Marshal(map[string]any{"text": text + "\n" + page, "unfurl_links": false})
	case Discord:
		for i := range lines {
			lines[i] = markdown.Replace(lines[i])
		}
		text := strings.Join(append([]string{"**" + markdown.Replace(title) + "**"}, lines...), "\n")
		return json.Marshal(map[string]any{
			"content":          troy.Cut(text, 1800) + "\n<" + page + ">", // it accepts 2,000 characters
			"allowed_mentions": map[string]any{"parse": []string{}},
		})
	case Teams:
		return json.Marshal(card(title, lines, page))
	}
	return m.webhook(page)
}

// slackText keeps a text from being read as markup or as a mention
// (docs.slack.dev, "Formatting message text"). What takes Slack's messages may
// read more markup than Slack.
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "](", "] (", "@", "@\u200b")

// markdown escapes what Discord reads as markup.
var markdown = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "~", `\~`, "|", `\|`, "[", `\[`, "]", `\]`, "(", `\(`, ")", `\)`,
	"<", `\<`, ">", `\>`, "#", `\#`, "@", "@\u200b",
)

// card is an Adaptive Card in the form that Teams' workflows accept. Its text
// runs show text as it is, without Markdown.
func card(title string, lines []string, page string) any {
	type object = map[string]any
	run := func(text string, bold bool) object {
		r := object{"type": "TextRun", "text": text}
		if bold {
			r["weight"] = "bolder"
		}
		return object{"type": "RichTextBlock", "inlines": []object{r}}
	}
	body := []object{run(title, true)}
	for _, l := range lines {
		body = append(body, run(l, false))
	}
	return object{"type": "message", "attachments": []object{{
		"contentType": "application/vnd.microsoft.card.adaptive",
		"content": object{
			"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body,
			"actions": []object{{"type": "Action.OpenUrl", "title": "Open in Troy", "url": page}},
		},
	}}}
}

// webhook is the body by Standard Webhooks (standardwebhooks.com, "Payload
// structure").
func (m Message) webhook(page string) ([]byte, error) {
	data := map[string]any{}
	if err := json.Unmarshal(m.Details, &data); err != nil {
		return nil, fmt.Errorf("read the details of notification %s: %w", m.ID, err)
	}
	data["url"] = page
	return json.Marshal(struct {
		Type      string         `json:"type"`
		Timestamp string         `json:"timestamp"`
		Data      map[string]any `json:"data"`
	}{m.Event, m.Time.UTC().Format(time.RFC3339), data})
}
