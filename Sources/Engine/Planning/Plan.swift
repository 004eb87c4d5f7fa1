package import ResourceModel
import Values

/// What would be done, in the order in which it would be done. Data, never executed from a file: a stored plan is only compared.
package struct Plan: Sendable {
    package var planID: String
    /// The commit of the specs; nil for a folder.
    package var revision: String?
    /// As the person who planned gave it.
    package var source: String
    /// Hash of all spec files.
    package var contentHash: String
    /// The `--target` patterns that narrowed it; empty: everything.
    package var selection: [String]
    /// Of each target that answered, a hash of what makes it the machine or cluster that it is.
    package var identities: [String: String]
    /// Of each target, the inventory that says what is held there, where it could be read.
    package var inventories: [String: String] = [:]
    package var actions: [Action]
    /// What is as declared, in the order of the addresses.
    package var unchanged: [ResourceAddress]
    package var problems: [Problem]
    package var notes: [String]
    /// Why none of it may be carried out; nil: it may. Stands among the problems as well.
    package var refusal: String?

    package init(
        planID: String,
        revision: String?,
        source: String,
        contentHash: String = "",
        selection: [String] = [],
        identities: [String: String] = [:],
        actions: [Action] = [],
        unchanged: [ResourceAddress] = [],
        problems: [Problem] = [],
        notes: [String] = []
    ) {
        self.planID = planID
        self.revision = revision
        self.source = source
        self.contentHash = contentHash
        self.selection = selection
        self.identities = identities
        self.actions = actions
        self.unchanged = unchanged
        self.problems = problems
        self.notes = notes
    }

    package var summary: Summary {
        Summary(
            create: actions.count { $0.operation == .create },
            update: actions.count { $0.operation == .update },
            delete: actions.count { $0.operation == .delete },
            unchanged: unchanged.count,
            problems: problems.count
        )
    }

    package struct Summary: Hashable, Sendable, Codable {
        package var create: Int
        package var update: Int
        package var delete: Int
        package var unchanged: Int
        package var problems: Int
    }
}

/// One change of one resource.
package struct Action: Hashable, Sendable {
    package enum Operation: String, Hashable, Sendable, Codable, CaseIterable {
        case create
        case update
        case delete
    }

    package var address: ResourceAddress
    package var kind: String
    package var handler: String
    package var operation: Operation
    package var fields: [FieldDifference]
    package var steps: [Step]
    package var risk: Risk
    /// Why it differs, where that is known; may be empty.
    package var reason: String
    /// Hash of what was observed and decides about this action. Equal fingerprints and specs: the same action.
    package var fingerprint: String
    /// Everything that must be as declared first, changed by this plan or not.
    package var dependsOn: [ResourceAddress]
    package var phase: Int
    /// What it is about is no longer declared: a prune, or fields that are given up. Runs only once all else at its target has succeeded.
    package var isUndeclared: Bool
    /// How long it has to differ in this way before the continuous mode acts on it; by hand it is done at once.
    package var settle = Duration.zero

    package var isPrune: Bool { isUndeclared && operation == .delete }

    package init(
        address: ResourceAddress,
        kind: String,
        handler: String,
        operation: Operation,
        fields: [FieldDifference],
        steps: [Step],
        risk: Risk = .none,
        reason: String = "",
        fingerprint: String,
        dependsOn: [ResourceAddress] = [],
        phase: Int = 0,
        isUndeclared: Bool = false
    ) {
        self.address = address
        self.kind = kind
        self.handler = handler
        self.operation = operation
        self.fields = fields
        self.steps = steps
        self.risk = risk
        self.reason = reason
        self.fingerprint = fingerprint
        self.dependsOn = dependsOn
        self.phase = phase
        self.isUndeclared = isUndeclared
    }
}
