package import Planning
package import ResourceModel
import Values

/// What a pull request does to the live world, and what has drifted already: before any of it is text.
///
/// What its readers may not see is not in it, so that no form of it can show it.
package struct PullRequestReport: Sendable {
    package struct Revision: Sendable, Hashable {
        /// As it was asked for: `main`.
        package var name: String
        /// 40 hexadecimal digits; empty where it could not be read.
        package var commit: String

        package init(name: String, commit: String) {
            self.name = name
            self.commit = commit
        }
    }

    /// Who reads it.
    package struct Audience: Sendable, Hashable {
        /// The author of the head has no write permission.
        package var isForStranger: Bool
        /// What is live is not shown: everybody can read the pull request.
        package var hidesValues: Bool

        package init(isForStranger: Bool = false, hidesValues: Bool = false) {
            self.isForStranger = isForStranger
            self.hidesValues = hidesValues
        }

        /// Sentences that hosts and servers had a part in are left out, and so are hashes that guesses could be tried on.
        var hidesWords: Bool { isForStranger || hidesValues }

        /// Whether what is live may be compared with what the head declares otherwise.
        package var comparesValues: Bool { !(isForStranger && hidesValues) }
    }

    package struct Change: Sendable, Hashable {
        package var address: ResourceAddress
        package var kind: String
        package var operation: Action.Operation
        package var fields: [FieldDifference]
        package var risk: Risk
        /// Why, or what is to be known of it; may be empty.
        package var reason: String
        /// It is about what is no longer declared.
        package var isUndeclared: Bool

        package init(
            address: ResourceAddress,
            kind: String,
            operation: Action.Operation,
            fields: [FieldDifference],
            risk: Risk = .none,
            reason: String = "",
            isUndeclared: Bool = false
        ) {
            self.address = address
            self.kind = kind
            self.operation = operation
            self.fields = fields
            self.risk = risk
            self.reason = reason
            self.isUndeclared = isUndeclared
        }
    }

    /// What would be done today and no longer after the merge.
    package struct Ended: Sendable, Hashable {
        package var change: Change
        /// In a few words.
        package var why: String

        package init(change: Change, why: String) {
            self.change = change
            self.why = why
        }
    }

    package enum Since: String, Sendable, Hashable, CaseIterable {
        /// Only with the head.
        case pullRequest
        /// With both.
        case before
        /// Only with the base.
        case ended
    }

    package struct ReportedProblem: Sendable, Hashable {
        package var problem: Problem
        package var since: Since

        package init(problem: Problem, since: Since) {
            self.problem = problem
            self.since = since
        }
    }

    package var source: String
    package var base: Revision
    package var head: Revision
    package var audience: Audience
    package var observedAt: Moment
    /// Of the head's plan; nil where none was made, or where guesses could be tried on it.
    package var planID: String?
    package var basePlanID: String?
    package var changes: [Change] = []
    package var drifted: [Change] = []
    package var ended: [Ended] = []
    package var problems: [ReportedProblem] = []
    /// Text only; nothing of it was compared.
    package var declared: [DeclaredDifference] = []
    package var targets: [TargetDifference] = []
    /// Why the head's specs are not taken. Then there are no changes.
    package var mistakes: [Annotation] = []
    package var baseMistakes = 0
    package var notes: [String] = []
    /// As declared by the head.
    package var unchanged = 0

    /// Of specs that can't be taken.
    package init(source: String, base: Revision, head: Revision, audience: Audience, observedAt: Moment, mistakes: [Annotation]) {
        self.source = source
        self.base = base
        self.head = head
        self.audience = audience
        self.observedAt = observedAt
        self.mistakes = mistakes
    }

    /// - Parameters:
    ///   - plans: Of both revisions, from one observation.
    ///   - part: What of the head was not compared; nil: all was.
    ///   - baseMistakes: How many mistakes the base has; then nothing of it is in force.
    package init(
        source: String,
        base: Revision,
        head: Revision,
        audience: Audience,
        observedAt: Moment,
        plans: (base: Plan, head: Plan),
        difference: PlanDifference,
        part: StrangersPart?,
        targets: [TargetDifference],
        baseMistakes: Int = 0
    ) {
        self.init(source: source, base: base, head: head, audience: audience, observedAt: observedAt, mistakes: [])
        if !audience.hidesWords { (basePlanID, planID) = (plans.base.planID, plans.head.planID) }
        changes = difference.changes.map { change in
            let otherWay = change.fields.isEmpty && !change.action.fields.isEmpty ? "the same fields as now, in another way" : ""
            return Change(change.action, change.fields, for: audience, remark: otherWay)
        }
        drifted = difference.drift.map { Change($0, $0.fields, for: audience) }
        ended = difference.ended.map { Ended(change: Change($0.action, $0.fields, for: audience), why: $0.words(for: audience)) }
        problems =
            difference.newProblems.map { ReportedProblem($0, .pullRequest, for: audience) }
            + difference.standingProblems.map { ReportedProblem($0, .before, for: audience) }
            + difference.endedProblems.map { ReportedProblem($0, .ended, for: audience) }
        self.targets = targets
        self.baseMistakes = baseMistakes
        unchanged = plans.head.unchanged.count
        if !audience.hidesWords { notes = difference.newNotes }
        if let part {
            declared = part.declared
            if !part.secrets.isEmpty {
                notes.append("\(part.secrets.count == 1 ? "1 Secret is" : "\(part.secrets.count) Secrets are") not looked at")
            }
        }
    }
}

extension PullRequestReport.Change {
    init(_ action: Action, _ fields: [FieldDifference], for audience: PullRequestReport.Audience, remark: String = "") {
        self.init(
            address: action.address,
            kind: action.kind,
            operation: action.operation,
            fields: audience.hidesValues ? fields.map { FieldDifference(path: $0.path, observed: "(hidden)", desired: $0.desired) } : fields,
            risk: action.risk,
            reason: [remark, audience.hidesWords ? "" : action.reason].filter { !$0.isEmpty }.joined(separator: "; "),
            isUndeclared: action.isUndeclared
        )
    }
}

extension PlanDifference.Ended {
    fileprivate func words(for audience: PullRequestReport.Audience) -> String {
        switch reason {
        case .isLive: audience.hidesValues ? "no longer part of the plan" : "the head declares what is live"
        case .isUndeclared: "no longer declared"
        case .isProblem(let status): "can't be made so: \(status.rawValue)"
        }
    }
}

extension PullRequestReport.ReportedProblem {
    init(_ problem: Problem, _ since: PullRequestReport.Since, for audience: PullRequestReport.Audience) {
        self.init(problem: problem, since: since)
        if audience.hidesWords { self.problem.message = problem.status.plainWords }
    }
}

extension ProblemStatus {
    /// What it means, without a word of who was asked.
    fileprivate var plainWords: String {
        switch self {
        case .unreachable: "could not be reached"
        case .denied: "could not be read: access was denied"
        case .unknown: "could not be read"
        case .blocked: "waits for something that Plumb does not do by itself"
        case .held: "is left as it is"
        case .contested: "is changed back again and again"
        case .invalid: "can't be as it is declared"
        }
    }
}

extension PullRequestReport {
    /// Whether all that both revisions declare could be read and understood.
    package var isComplete: Bool {
        mistakes.isEmpty && baseMistakes == 0 && !problems.contains { $0.since != .ended && $0.problem.status.preventsReading }
    }

    /// `3 changes, 1 disconnecting; 2 drifted; 1 unreachable`, at most 140 bytes.
    package var headline: String {
        if !mistakes.isEmpty { return mistakes.count == 1 ? "1 mistake in the specs" : "\(mistakes.count) mistakes in the specs" }
        func count(_ number: Int, _ one: String, _ many: String) -> String { "\(number) \(number == 1 ? one : many)" }
        var first = [changes.isEmpty ? "no changes" : count(changes.count, "change", "changes")]
        for risk in [Risk.disconnecting, .disruptive] {
            let number = changes.count { $0.risk == risk }
            if number > 0 { first.append("\(number) \(risk.rawValue)") }
        }
        var parts = [first.joined(separator: ", ")]
        if !declared.isEmpty { parts.append("\(declared.count) declared, not compared") }
        if !drifted.isEmpty { parts.append("\(drifted.count) drifted already") }
        let open = problems.filter { $0.since != .ended }
        let unread = open.count { $0.problem.status.preventsReading }
        if unread > 0 { parts.append("\(unread) not read") }
        if open.count > unread { parts.append(count(open.count - unread, "other problem", "other problems")) }
        // Numbers alone: far below the limit unless there are billions.
        return String(parts.joined(separator: "; ").prefix(140))
    }
}
