package import Values

/// Why something is not simply in sync or different.
package enum ProblemStatus: String, Hashable, Sendable, Codable, CaseIterable {
    /// No connection, or no answer in time.
    case unreachable
    /// We were let in nowhere, or not far enough.
    case denied
    /// It was asked for and the answer can't be read. Never the same as absent.
    case unknown
    /// A requirement that Plumb does not fulfil by itself, or something that must come first.
    case blocked
    /// Somebody else needs it as it is; left alone.
    case held
    /// It is changed back again and again.
    case contested
    /// What the specs ask for can't be.
    case invalid

    /// Could not be read, so a plan is not complete: exit status 1.
    package var preventsReading: Bool {
        switch self {
        case .unreachable, .denied, .unknown, .invalid: true
        case .blocked, .held, .contested: false
        }
    }
}

package struct Problem: Error, Hashable, Sendable, Codable {
    package var target: String
    package var address: ResourceAddress?
    package var status: ProblemStatus
    /// What is so, why, and what to do about it.
    package var message: String

    package init(target: String, address: ResourceAddress? = nil, status: ProblemStatus, message: String) {
        self.target = target
        self.address = address
        self.status = status
        self.message = message
    }
}

/// What was found at all targets. A target that could not be asked is a value here, never an absence.
package struct ObservedState: Sendable {
    package var targets: [String: TargetObservation]

    package init(targets: [String: TargetObservation] = [:]) {
        self.targets = targets
    }
}

package enum TargetObservation: Sendable {
    case observed(TargetFacts)
    case failed(Problem)
}

package struct TargetFacts: Sendable {
    /// What makes it the machine or the cluster that it is: host key and machine-id; UID of namespace `kube-system`.
    package var identity: String
    package var facts: Facts
    /// What the inventory says Plumb holds there, declared still or not.
    package var owned: [OwnedResource]
    /// Which inventory said so; nil: none, or it could not be read.
    package var inventory: String?
    package var notes: [String]
    /// What is paused there by the target's own word: `/etc/plumb/pause` on a host.
    package var pauses: [Pause] = []

    package init(identity: String, facts: Facts, owned: [OwnedResource] = [], notes: [String] = []) {
        self.identity = identity
        self.facts = facts
        self.owned = owned
        self.notes = notes
    }
}

package enum Facts: Sendable {
    /// The output of each probe section, by its name.
    case host([String: SectionOutput])
    /// What the server said of each desired object, by its address' resource part. One entry is none: `discovery` holds, for each declared
    /// kind, its plural and whether it lives in namespaces.
    case cluster([String: ObservedObject])
}

/// What one read-only section of a host's probe printed. Status other than 0: unknown, never "absent".
package struct SectionOutput: Hashable, Sendable, Codable {
    package var status: Int32
    package var output: String
    package var errorOutput: String

    package init(status: Int32, output: String, errorOutput: String = "") {
        self.status = status
        self.output = output
        self.errorOutput = errorOutput
    }
}

/// What an API server said of one desired object.
package struct ObservedObject: Sendable, Hashable {
    /// The object as it is; nil: the server answered that there is none.
    package var live: Value?
    /// What a server-side dry-run of the declared fields would make of it; nil where none was needed or allowed.
    package var predicted: Value?
    /// Why `predicted` is missing although it was asked for: shown as "not confirmed by the server".
    package var unconfirmed: String?
    /// The object can't be read or its manifest is refused.
    package var problem: Problem?

    package init(live: Value? = nil, predicted: Value? = nil, unconfirmed: String? = nil, problem: Problem? = nil) {
        self.live = live
        self.predicted = predicted
        self.unconfirmed = unconfirmed
        self.problem = problem
    }
}
