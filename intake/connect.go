package intake

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// ConnectInstall is a Connect app's installation message.
type ConnectInstall struct {
	State     []byte // the SHA-256 of the state in the request's address
	AppKey    string
	ClientKey string
	Account   string
	// Seal verifies the message with the installation's credentials, nil if it
	// has none yet, and returns its new credentials. It is called in the
	// transaction before any change; its error changes nothing.
	Seal func(current []byte) ([]byte, error)
}

func noState() error {
	return troy.Errorf(troy.NotFound, "address not found: a state is valid for one installation within an hour (troyd bitbucket connect issues another)")
}

// ConnectInstalled accepts the installation of a Connect app. A client's first
// installation binds the state, which becomes the client's address;
// ConnectInstalled refuses an address that belongs to another client.
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
			return troy.Errorf(troy.Forbidden, "the address belongs to another installation").At("clientKey")
		}
		if state.AppKey == nil || *state.AppKey != i.AppKey {
			return troy.Errorf(troy.Forbidden, "the app is not the one that the address describes").At("key")
		}
		// With the row in place, concurrent first installations of one client
		// take turns too, and the second finds the credentials of the first.
		if err := q.InstallationKnown(ctx, string(troy.Bitbucket), i.ClientKey); err != nil {
			return err
		}
		current, err := q.InstallationLock(ctx, string(troy.Bitbucket), i.ClientKey)
		if err != nil {
			return err
		}
		if current.Credentials == nil && state.ClientKey != nil {
			return troy.Errorf(troy.Forbidden, "Troy does not have the secret of the address's installation; import it again")
		}
		sealed, err := i.Seal(current.Credentials)
		if err != nil {
			return err
		}
		return sealInstallation(ctx, q, i.State, i.ClientKey, i.Account, sealed)
	})
	if err != nil {
		return fmt.Errorf("accept the installation of the Connect app: %w", err)
	}
	return nil
}

// ConnectImport records an installation that was made elsewhere, with its
// sealed credentials, and replaces an earlier record. state is the hash of its
// new address.
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

// ConnectUninstalled accepts the removal of a Connect app. It keeps the
// credentials, since they sign the next installation; the pipelines report why
// pushes are not built.
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
		return fmt.Errorf("accept the removal of Connect installation %s: %w", clientKey, err)
	}
	return nil
}
