package handlers

import (
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

const answeredShown = 20

// ShowApprovals shows what waits for a person's yes, in numbers.
func (h *Handlers) ShowApprovals(w http.ResponseWriter, r *http.Request) error {
	return h.approvals(w, r, http.StatusOK, nil)
}

func (h *Handlers) approvals(w http.ResponseWriter, r *http.Request, status int, problem *models.Error) error {
	answered, err := h.Models.AnsweredApprovals(r.Context(), answeredShown)
	if err != nil {
		return err
	}
	p, err := h.page(r, "approvals.title", templates.URLApprovals)
	if err != nil {
		return err
	}
	p.Here, p.Live = templates.URLApprovals, problem == nil
	props := templates.ApprovalsProps{Page: p, Answered: answered}
	if problem != nil {
		props.Problem = p.L.Error(problem)
	}
	return render(w, r, status, templates.Approvals(props))
}

// AnswerApproval answers one question.
func (h *Handlers) AnswerApproval(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(chi.URLParam(r, "id"), 10, 64)
	if err != nil {
		return models.ErrNotFound
	}
	answer := r.PostFormValue("answer")
	if answer != "yes" && answer != "no" {
		return h.approvals(w, r, http.StatusUnprocessableEntity, &models.Error{Code: models.CodeInvalid, Message: "approval.unclear"})
	}
	_, err = h.Models.AnswerApproval(r.Context(), id, answer == "yes", actor(r))
	if e, ok := refusal(err); ok {
		return h.approvals(w, r, http.StatusConflict, e)
	}
	if err != nil {
		return err
	}
	h.flash(r, "flash.answered."+answer)
	return redirect(w, r, templates.URLApprovals)
}

// AskFirstSendAgain puts the question of the first sending once more.
func (h *Handlers) AskFirstSendAgain(w http.ResponseWriter, r *http.Request) error {
	err := h.Models.AskFirstSendAgain(r.Context(), actor(r))
	if e, ok := refusal(err); ok {
		return h.approvals(w, r, http.StatusConflict, e)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, templates.URLApprovals)
}
