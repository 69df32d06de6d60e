package salesforce

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// UserInfo is who the session belongs to.
type UserInfo struct {
	OrganizationID    sobject.ID
	UserID            sobject.ID
	PreferredUsername string
	Name              string
	Email             string
}

// UserInfo asks who the session belongs to, and in which org. It does not count against the API budget. Where the app may
// not use the identity services, the ids come from the token's identity URL and the rest from the User record.
// https://help.salesforce.com/s/articleView?id=sf.remoteaccess_using_userinfo_endpoint.htm
func (c *Client) UserInfo(ctx context.Context) (UserInfo, error) {
	var answer struct {
		OrganizationID    string `json:"organization_id"`
		UserID            string `json:"user_id"`
		PreferredUsername string `json:"preferred_username"`
		Name              string `json:"name"`
		Email             string `json:"email"`
	}
	err := c.getJSON(ctx, "ask who the user is", "/services/oauth2/userinfo", "", &answer)
	if api, ok := errors.AsType[*APIError](err); ok && (api.Status == http.StatusForbidden || api.Status == http.StatusNotFound) && !IsHalting(err) {
		return c.userFromIdentity(ctx, err)
	}
	if err != nil {
		return UserInfo{}, err
	}
	info := UserInfo{PreferredUsername: answer.PreferredUsername, Name: answer.Name, Email: answer.Email}
	if info.OrganizationID, err = sobject.ParseID(answer.OrganizationID); err != nil {
		return UserInfo{}, &APIError{Op: "ask who the user is", Code: CodeMalformedReply, Message: "organization_id: " + err.Error()}
	}
	if info.UserID, err = sobject.ParseID(answer.UserID); err != nil {
		return UserInfo{}, &APIError{Op: "ask who the user is", Code: CodeMalformedReply, Message: "user_id: " + err.Error()}
	}
	return info, nil
}

// userFromIdentity reads an identity URL, https://login.salesforce.com/id/<org id>/<user id>.
func (c *Client) userFromIdentity(ctx context.Context, refused error) (UserInfo, error) {
	_, ids, _ := strings.Cut(c.cached().IdentityURL, "/id/")
	org, user, _ := strings.Cut(ids, "/")
	orgID, err := sobject.ParseID(org)
	userID, err2 := sobject.ParseID(user)
	if err != nil || err2 != nil {
		return UserInfo{}, refused
	}
	info := UserInfo{OrganizationID: orgID, UserID: userID}
	err = c.one(ctx, "ask who the user is", "SELECT Username, Name, Email FROM User WHERE Id = '"+string(userID)+"'",
		&info.PreferredUsername, &info.Name, &info.Email)
	return info, err
}

// Organization is the org as it describes itself. OrganizationType is the edition.
type Organization struct {
	ID               sobject.ID
	Name             string
	IsSandbox        bool
	OrganizationType string
	InstanceName     string
}

// Organization reads the org's own record.
// https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_organization.htm
func (c *Client) Organization(ctx context.Context) (Organization, error) {
	var o Organization
	var id, sandbox string
	err := c.one(ctx, "read the organization", "SELECT Id, Name, IsSandbox, OrganizationType, InstanceName FROM Organization",
		&id, &o.Name, &sandbox, &o.OrganizationType, &o.InstanceName)
	if err != nil {
		return Organization{}, err
	}
	o.IsSandbox = sandbox == "true"
	if o.ID, err = sobject.ParseID(id); err != nil {
		return Organization{}, &APIError{Op: "read the organization", Code: CodeMalformedReply, Message: err.Error()}
	}
	return o, nil
}

// one runs a query for one record and gives its cells in the order of the SELECT list.
func (c *Client) one(ctx context.Context, op, soql string, cells ...*string) error {
	for page, err := range c.Query(ctx, soql, false) {
		if err != nil {
			return err
		}
		row, err := page.Rows.Next()
		if err != nil {
			break
		}
		for i, cell := range row {
			*cells[i] = string(cell)
		}
		return nil
	}
	return &APIError{Op: op, Code: CodeNotFound, Message: "the record does not exist, or this user cannot see it"}
}

// Limit is one of the org's allowances. Remaining lags by some minutes and may be below zero.
type Limit struct{ Max, Remaining int }

// Limits holds the org's allowances by Salesforce's names: DailyApiRequests, DailyBulkV2QueryJobs, ...
type Limits map[string]Limit

// Limits asks for the org's allowances. The user needs View Setup and Configuration.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_limits.htm
func (c *Client) Limits(ctx context.Context) (Limits, error) {
	path, err := c.rest(ctx)
	if err != nil {
		return nil, err
	}
	// Some entries hold the shares of single apps beside the two numbers; they are passed over.
	var answer map[string]struct {
		Max       *int `json:"Max"`
		Remaining *int `json:"Remaining"`
	}
	if err := c.getJSON(ctx, "read the org's limits", path+"/limits", "", &answer); err != nil {
		return nil, err
	}
	limits := make(Limits, len(answer))
	for name, l := range answer {
		if l.Max != nil && l.Remaining != nil {
			limits[name] = Limit{Max: *l.Max, Remaining: *l.Remaining}
		}
	}
	return limits, nil
}
