import DriftDetection
import ResourceModel

/// What the last look at each target showed of resources that had been as declared: an apply that ends well says so of the end, not of a moment
/// in between.
struct LastLook: Sendable {
    private var settled: Set<ResourceAddress>
    private var differing: [ResourceAddress: String] = [:]

    /// - Parameter unchanged: What the plan found as declared.
    init(unchanged: [ResourceAddress]) { settled = Set(unchanged) }

    /// Takes note of one look, then of what was found to have succeeded by it.
    mutating func note(_ seen: [ResourceDrift], succeeded: some Sequence<ResourceAddress>) {
        for resource in seen where settled.contains(resource.address) {
            switch resource.standing {
            case .inSync: differing[resource.address] = nil
            case .missing, .surplus, .differs:
                let fields = resource.differences.map(\.path).joined(separator: ", ")
                let place = fields.isEmpty ? "" : " in \(fields)"
                let who = resource.reason.isEmpty ? "Somebody else changes it" : resource.reason
                differing[resource.address] = "was as declared, and differs again\(place). \(who)"
            case .problem(let status, let message):
                differing[resource.address] = "was as declared, and now is \(status.rawValue): \(message)"
            }
        }
        settled.formUnion(succeeded)
    }

    /// In the order of their addresses, each with what was seen.
    var drifted: [(ResourceAddress, String)] { differing.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
}
