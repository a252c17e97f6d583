package intake

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// ConnectInstall is a Connect app's message that it was installed.
type ConnectInstall struct {
	State     []byte // the SHA-256 of the state in the address it came to
	AppKey    string
	ClientKey string
	Account   string
	// Seal holds the message to the credentials that the installation has, nil
	// when it has none yet, and returns those that it has from now on. It is
	// called in the transaction, before anything is changed; what it refuses
	// changes nothing.
	Seal func(current []byte) ([]byte, error)
}

func noState() error {
	return troy.Errorf(troy.NotFound, "there is no such address: a state is good for one installation within an hour (troyd bitbucket connect issues another)")
}

// ConnectInstalled takes in that a Connect app was installed. The first
// installation of a client binds the state to it, which then is its address;
// an address that is another client's is refused.
func (in *Intake) ConnectInstalled(ctx context.Context, i ConnectInstall) error {
	err := in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		state, err := q.ConnectStateLock(ctx, i.State)
		if errors.Is(err, pgx.ErrNoRows) {
			return noState()
		}
		if err != nil {
			return err
		}
		if state.ClientKey != nil && *state.ClientKey != i.ClientKey {
			return troy.Errorf(troy.Forbidden, "the address is another installation's").At("clientKey")
		}
		if state.AppKey == nil || *state.AppKey != i.AppKey {
			return troy.Errorf(troy.Forbidden, "the app is not the one that the address describes").At("key")
		}
		// With the row there, two first installations of one client take
		// turns, too, and the second one finds the credentials of the first.
		if err := q.InstallationKnown(ctx, string(troy.Bitbucket), i.ClientKey); err != nil {
			return err
		}
		current, err := q.InstallationLock(ctx, string(troy.Bitbucket), i.ClientKey)
		if err != nil {
			return err
		}
		if current.Credentials == nil && state.ClientKey != nil {
			return troy.Errorf(troy.Forbidden, "the address is of an installation whose secret is not kept; import it again")
		}
		sealed, err := i.Seal(current.Credentials)
		if err != nil {
			return err
		}
		return sealInstallation(ctx, q, i.State, i.ClientKey, i.Account, sealed)
	})
	if err != nil {
		return fmt.Errorf("take in that the Connect app was installed: %w", err)
	}
	return nil
}

// ConnectImport writes down an installation that was made elsewhere, with its
// sealed credentials, in place of what was known of it. state is the hash of
// its address from now on.
func (in *Intake) ConnectImport(ctx context.Context, state []byte, appKey, clientKey, account, actor string, sealed []byte) error {
	err := in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		if err := q.SetupStateIssue(ctx, queries.SetupStateIssueParams{
			Hash: state, Provider: string(troy.Bitbucket), Actor: actor, AppKey: &appKey, ClientKey: &clientKey,
		}); err != nil {
			return err
		}
		if err := q.InstallationKnown(ctx, string(troy.Bitbucket), clientKey); err != nil {
			return err
		}
		if err := Audit(ctx, q, Change{Action: AppImport, Subject: appKey, Detail: account, Actor: actor}); err != nil {
			return err
		}
		return sealInstallation(ctx, q, state, clientKey, account, sealed)
	})
	if err != nil {
		return fmt.Errorf("import Connect installation %s: %w", clientKey, err)
	}
	return nil
}

func sealInstallation(ctx context.Context, q *queries.Queries, state []byte, clientKey, account string, sealed []byte) error {
	if err := q.InstallationSeal(ctx, queries.InstallationSealParams{
		Account: account, Credentials: sealed, Provider: string(troy.Bitbucket), ID: clientKey,
	}); err != nil {
		return err
	}
	if err := q.ConnectStateBind(ctx, clientKey, state); err != nil {
		return err
	}
	_, err := q.PipelinesOfInstallationProblem(ctx, queries.PipelinesOfInstallationProblemParams{
		Problem: "", Provider: string(troy.Bitbucket), InstallationID: clientKey,
	})
	return err
}

// ConnectUninstalled takes in that a Connect app was uninstalled. Its
// credentials stay, since what installs it again is signed with them; its
// pipelines say why pushes are not built.
func (in *Intake) ConnectUninstalled(ctx context.Context, clientKey string) error {
	err := in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		current, err := q.InstallationLock(ctx, string(troy.Bitbucket), clientKey)
		if err != nil {
			return err
		}
		if err := q.InstallationSeen(ctx, queries.InstallationSeenParams{
			Provider: string(troy.Bitbucket), ID: clientKey, State: "deleted",
		}); err != nil {
			return err
		}
		_, err = q.PipelinesOfInstallationProblem(ctx, queries.PipelinesOfInstallationProblemParams{
			Problem:  fmt.Sprintf("the Bitbucket app was uninstalled from %s", current.Account),
			Provider: string(troy.Bitbucket), InstallationID: clientKey,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("take in that Connect installation %s was uninstalled: %w", clientKey, err)
	}
	return nil
}
