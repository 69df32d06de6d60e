package simorg

var taskStatuses = []string{"Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred"}

func recurrence() []*field {
	return []*field{
		ref("RecurrenceActivityId", "RecurrenceActivity", "Task").ro(), flag("IsRecurrence").label("Create Recurring Series"), day("RecurrenceStartDateOnly").label("Recurrence Start"), day("RecurrenceEndDateOnly").label("Recurrence End"),
		pick("RecurrenceTimeZoneSidKey", "GMT", "Europe/Paris"), pick("RecurrenceType", "RecursDaily", "RecursWeekly", "RecursMonthly", "RecursYearly"), count("RecurrenceInterval", 9), count("RecurrenceDayOfWeekMask", 9), count("RecurrenceDayOfMonth", 9),
	}
}

// taskObject is Task (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_task.htm).
func taskObject() *object {
	o := &object{
		name: "Task", label: "Task", plural: "Tasks", prefix: "00T", createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.tasks }, rules: activityRules,
	}
	own := chanceOf(saltTaskDeleted, 1)
	o.deleted = func(v *view, i uint32) bool { return own(v, i) || v.whoDeleted(o.salt(), i) }
	closed := func(v *view, r row) bool { return v.get(r, r.t.object.byName["status"]).s == "Completed" }
	return define(o, fields(
		ref("WhoId", "Who", "Contact", "Lead").label("Name ID").child("Tasks").cascade().with(whoGen),
		ref("WhatId", "What", "Account", "Campaign", "Opportunity", "Subscription__c").label("Related To ID").child("Tasks").cascade().with(whatGen),
		combo("Subject", "Call", "Send Letter", "Send Quote", "Other").with(oneOf(98, subjects)),
		day("ActivityDate").label("Due Date Only").with(func(v *view, _ *field, i uint32) value { return dateOf(v.activityDay(saltTaskDeleted, i)) }),
		pick("Status", taskStatuses...).notNull().def("Not Started").with(func(v *view, f *field, i uint32) value {
			if v.taskClosed(i) {
				return value{k: text, s: "Completed"}
			}
			return value{k: text, s: []string{"Not Started", "In Progress", "Deferred"}[v.h(f.salt, i)%3]}
		}),
		pick("Priority", "High", "Normal", "Low").notNull().def("Normal").picked(100), flag("IsHighPriority").label("High Priority").derived(func(v *view, r row) value { return boolOf(v.get(r, r.t.object.byName["priority"]).s == "High") }),
		ref("OwnerId", "Owner", "Group", "User").label("Assigned To ID").notNull().with(owner(true)), area("Description", 32000).label("Comments").with(texts(40)),
		ref("AccountId", "Account", "Account").ro().with(activityAccountGen), flag("IsClosed").label("Closed").derived(func(v *view, r row) value { return boolOf(closed(v, r)) }),
		flag("IsArchived").label("Archived").ro().with(func(v *view, _ *field, i uint32) value { return boolOf(v.taskArchived(i)) }),
		count("CallDurationInSeconds", 8).label("Call Duration").with(ints(20, 0, 7200)), pick("CallType", "Internal", "Inbound", "Outbound").picked(20), str("CallDisposition", 255).label("Call Result").with(oneOf(10, []string{"Left message", "No answer", "\"Busy\""})), str("CallObject", 255).label("Call Object Identifier"),
		when("ReminderDateTime").label("Reminder Date/Time").with(stamps(10, -300*86400, 30*86400)), flag("IsReminderSet").label("Reminder Set").with(yes(10)),
		recurrence(), pick("TaskSubtype", "Task", "Email", "Call", "Cadence").createOnly().def("Task").with(oneOf(100, []string{"Task", "Task", "Call", "Email"})),
		when("CompletedDateTime").label("Completed Date").ro().with(func(v *view, f *field, i uint32) value {
			if !v.taskClosed(i) {
				return value{}
			}
			return stampSeconds(v.modifiedAt(f.owner, i))
		}),
	)...)
}

func chanceOf(salt, percent uint64) func(v *view, i uint32) bool {
	return func(v *view, i uint32) bool { return chance(v.h(salt, i), percent) }
}

// eventObject is Event (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_event.htm).
func eventObject() *object {
	o := &object{
		name: "Event", label: "Event", plural: "Events", prefix: "00U", createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.events }, rules: eventRules,
	}
	own := chanceOf(saltEventDeleted, 1)
	o.deleted = func(v *view, i uint32) bool { return own(v, i) || v.whoDeleted(o.salt(), i) }
	// Start, length and end agree: an event starts at the full or half hour and lasts half an hour to two hours.
	start := func(v *view, i uint32) int64 {
		return v.activityDay(saltEventDeleted, i)*86400 + 8*3600 + int64(v.h(saltEventDeleted+1, i)%18)*1800
	}
	minutes := func(v *view, i uint32) int64 { return 30 * (1 + int64(v.h(saltEventDeleted+2, i)%4)) }
	begin := func(v *view, _ *field, i uint32) value { return stampSeconds(start(v, i)) }
	return define(o, fields(
		ref("WhoId", "Who", "Contact", "Lead").label("Name ID").child("Events").cascade().with(whoGen),
		ref("WhatId", "What", "Account", "Campaign", "Opportunity", "Subscription__c").label("Related To ID").child("Events").cascade().with(whatGen),
		combo("Subject", "Call", "Email", "Meeting", "Send Letter/Quote", "Other").with(oneOf(98, subjects)), str("Location", 255).with(oneOf(60, places)),
		flag("IsAllDayEvent").label("All-Day Event"), when("ActivityDateTime").label("Due Date Time").with(begin),
		day("ActivityDate").label("Due Date Only").with(func(v *view, _ *field, i uint32) value { return dateOf(v.activityDay(saltEventDeleted, i)) }),
		count("DurationInMinutes", 8).label("Duration").with(func(v *view, _ *field, i uint32) value { return intOf(minutes(v, i)) }), when("StartDateTime").label("Start Date Time").with(begin),
		when("EndDateTime").label("End Date Time").with(func(v *view, _ *field, i uint32) value { return stampSeconds(start(v, i) + 60*minutes(v, i)) }),
		area("Description", 32000).with(texts(40)), ref("AccountId", "Account", "Account").ro().with(activityAccountGen), ref("OwnerId", "Owner", "User").label("Assigned To ID").notNull().with(owner(false)),
		flag("IsPrivate").label("Private").with(yes(3)), pick("ShowAs", "Busy", "OutOfOffice", "Free").label("Show Time As").def("Busy").picked(95), flag("IsChild").ro(), flag("IsGroupEvent").label("Is Group Event").ro(), pick("GroupEventType", "0", "1", "2", "3").def("0").ro().with(same("0")),
		flag("IsArchived").label("Archived").ro().with(func(v *view, _ *field, i uint32) value { return boolOf(v.eventArchived(i)) }), pick("EventSubtype", "Event").createOnly().def("Event").with(same("Event")),
		recurrence(), when("ReminderDateTime").label("Reminder Date/Time").with(stamps(10, -300*86400, 30*86400)), flag("IsReminderSet").label("Reminder Set").with(yes(10)),
	)...)
}
