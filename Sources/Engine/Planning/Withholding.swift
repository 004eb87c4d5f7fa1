package import ResourceModel

/// Why an action is not done although it would end a difference: a policy, a fight, a chain that may be only passing through.
package struct Withheld: Hashable, Sendable {
    /// How its resource is reported; nil: it is no problem, only not yet time. Then it is a note.
    package var status: ProblemStatus?
    package var message: String

    package init(_ status: ProblemStatus?, _ message: String) {
        self.status = status
        self.message = message
    }
}

extension Plan {
    /// The plan without these actions and without what depends on them, directly or not: that is `blocked: waits for …`.
    ///
    /// As in every plan, what is no longer declared stays at a target where something declared is not made so, or where what goes before it stays.
    /// Verdicts on what is no action of this plan say nothing. The plan keeps its ID: it is what was found, and not what is done about it.
    package func withholding(_ verdicts: [ResourceAddress: Withheld]) -> Plan {
        guard actions.contains(where: { verdicts[$0.address] != nil }) else { return self }
        var plan = self
        plan.actions = []
        var obstacles: [ResourceAddress: String] = [:]
        var causes: [Problem] = []
        // Actions come after those they depend on, so each obstacle is known by now.
        for action in actions {
            let address = action.address
            let problem: Problem
            if let verdict = verdicts[address] {
                problem = Problem(target: address.target, address: address, status: verdict.status ?? .blocked, message: verdict.message)
                obstacles[address] = verdict.status?.rawValue ?? "not yet"
                if verdict.status == nil { plan.notes.append("\(address): \(verdict.message)") } else { plan.problems.append(problem) }
            } else if let cause = action.dependsOn.first(where: { obstacles[$0] != nil }) {
                let message = "waits for \(cause) (\(obstacles[cause] ?? ""))"
                problem = Problem(target: address.target, address: address, status: .blocked, message: message)
                obstacles[address] = ProblemStatus.blocked.rawValue
                plan.problems.append(problem)
            } else {
                plan.actions.append(action)
                continue
            }
            causes.append(problem)
        }
        let undeclared = actions.filter(\.isUndeclared).map { ($0.address, $0.phase) }
        plan.withholdPrunes(undeclared: Dictionary(undeclared) { first, _ in first }, because: causes)
        plan.sortProblems()
        return plan
    }

    mutating func sortProblems() {
        problems.sort { ($0.target, $0.address?.resource ?? "", $0.message) < ($1.target, $1.address?.resource ?? "", $1.message) }
    }
}
