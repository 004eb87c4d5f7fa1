package import ResourceModel

/// What another revision of the specs would do that this one does not, both planned from the same observation.
///
/// What a pull request changes and what has drifted already are two lists that share nothing: no field of an action is in both.
package struct PlanDifference: Sendable {
    package struct Change: Sendable, Hashable {
        /// As the head plans it, whole.
        package var action: Action
        /// Those of its fields that the base does not change in the same way. Empty: the same fields by other steps, or with another risk.
        package var fields: [FieldDifference]
    }

    /// What the base would do and the head would not.
    package struct Ended: Sendable, Hashable {
        package enum Reason: Hashable, Sendable {
            /// The head declares what is live.
            case isLive
            /// The head does not declare it.
            case isUndeclared
            /// In the head something is in its way, or in its target's.
            case isProblem(ProblemStatus)
        }

        package var action: Action
        package var fields: [FieldDifference]
        package var reason: Reason
    }

    /// In the order of the head's plan.
    package var changes: [Change] = []
    /// All that the base would do: it differs now, whatever becomes of the pull request.
    package var drift: [Action]
    package var ended: [Ended] = []
    package var newProblems: [Problem] = []
    /// In both.
    package var standingProblems: [Problem] = []
    package var endedProblems: [Problem] = []
    package var newNotes: [String] = []

    /// Synchronous, total, deterministic.
    package init(from base: Plan, to head: Plan) {
        drift = base.actions
        let before = Dictionary(base.actions.map { ($0.address, $0) }) { first, _ in first }
        let after = Dictionary(head.actions.map { ($0.address, $0) }) { first, _ in first }
        for action in head.actions {
            guard let old = before[action.address] else {
                changes.append(Change(action: action, fields: action.fields))
                continue
            }
            if action.does(the: old) { continue }
            let known = old.operation == action.operation ? Set(old.fields) : []
            changes.append(Change(action: action, fields: action.fields.filter { !known.contains($0) }))
        }
        let unchanged = Set(head.unchanged)
        let obstacles = Dictionary(head.problems.compactMap { problem in problem.address.map { ($0, problem.status) } }) { first, _ in first }
        let dead = Dictionary(head.problems.filter { $0.address == nil }.map { ($0.target, $0.status) }) { first, _ in first }
        for action in base.actions {
            if let new = after[action.address] {
                // What becomes of a field that is changed in another way is told with the change.
                let paths = Set(new.fields.map(\.path))
                let fields = new.operation == action.operation ? action.fields.filter { !paths.contains($0.path) } : []
                if !fields.isEmpty { ended.append(Ended(action: action, fields: fields, reason: .isLive)) }
                continue
            }
            let reason: Ended.Reason =
                if unchanged.contains(action.address) {
                    .isLive
                } else if let status = obstacles[action.address] ?? dead[action.address.target] {
                    .isProblem(status)
                } else {
                    .isUndeclared
                }
            ended.append(Ended(action: action, fields: action.fields, reason: reason))
        }
        let (old, new) = (Set(base.problems), Set(head.problems))
        newProblems = head.problems.filter { !old.contains($0) }
        standingProblems = base.problems.filter(new.contains)
        endedProblems = base.problems.filter { !new.contains($0) }
        let known = Set(base.notes)
        newNotes = head.notes.filter { !known.contains($0) }
    }

    /// Takes another account of what has drifted than the one that was compared with: what it has is not the pull request's either.
    package mutating func replaceDrift(with plan: Plan) {
        drift = plan.actions
        let known = Dictionary(plan.actions.map { ($0.address, $0) }) { first, _ in first }
        changes = changes.compactMap { change in
            guard let old = known[change.action.address], old.operation == change.action.operation else { return change }
            var change = change
            let fields = Set(old.fields)
            let hadFields = !change.fields.isEmpty
            change.fields.removeAll(where: fields.contains)
            return hadFields && change.fields.isEmpty ? nil : change
        }
        ended.removeAll { known[$0.action.address] == nil }
    }
}

extension Action {
    /// Whether it comes to the same as another action at its address.
    fileprivate func does(the other: Action) -> Bool {
        operation == other.operation && fields == other.fields && risk == other.risk && isUndeclared == other.isUndeclared
            && steps.map(\.operation) == other.steps.map(\.operation)
    }
}
