package import Values

/// One thing that is run or sent. Data: a plan can be stored, compared and read by a person.
package struct Step: Hashable, Sendable {
    package enum Operation: Hashable, Sendable {
        /// Arguments are data, never shell text. `input` goes to the command's standard input.
        case run(arguments: [String], input: String? = nil)
        case send(Request)
    }

    /// A request to the target's API server.
    package struct Request: Hashable, Sendable {
        package var method: String
        /// Path and query.
        package var path: String
        package var contentType: String?
        package var body: Value?

        package init(method: String, path: String, contentType: String? = nil, body: Value? = nil) {
            self.method = method
            self.path = path
            self.contentType = contentType
            self.body = body
        }
    }

    package var operation: Operation
    /// In words a person can check; for a command the command line itself.
    package var summary: String
    /// What undoes it; empty where nothing can.
    package var inverse: [Operation]

    package init(_ operation: Operation, summary: String, inverse: [Operation] = []) {
        self.operation = operation
        self.summary = summary
        self.inverse = inverse
    }
}

/// What a change may do beyond what it is for.
package enum Risk: String, Hashable, Sendable, Codable, Comparable, CaseIterable {
    case none
    /// Traffic or a service may be interrupted.
    case disruptive
    /// The connection that Plumb itself uses may be cut.
    case disconnecting

    package static func < (a: Self, b: Self) -> Bool { a.rank < b.rank }

    private var rank: Int {
        switch self {
        case .none: 0
        case .disruptive: 1
        case .disconnecting: 2
        }
    }
}

/// The steps that take one resource from observed to desired.
package struct Change: Hashable, Sendable {
    package var steps: [Step]
    package var risk: Risk

    package init(steps: [Step], risk: Risk = .none) {
        self.steps = steps
        self.risk = risk
    }
}
