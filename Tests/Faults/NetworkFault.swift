import Foundation

/// One way for a network to fail, and what may come of it.
struct NetworkFault: Sendable {
    /// The world, the victim's name.
    typealias Deed = @Sendable (World, String) throws -> Void

    var name: String
    var stage = Stage.start
    /// Whom the gate holds: the victim, else the other host, which is changed first.
    var holdsOther = false
    /// What the victim is to become; nil: wlan0 promiscuous.
    var spec: (@Sendable (String) -> String)?
    /// Instead of the victim's plain entry in the list of hosts.
    var entry: (@Sendable (World, String) throws -> String)?
    var variant: String?
    var options: [String] = []
    /// Seconds in which the apply has to end.
    var limit = 40.0
    var strike: Deed = { _, _ in }
    /// What happens while the apply goes on, the gate being open.
    var meanwhile: Deed = { _, _ in }
    var heal: Deed = { _, _ in }
    /// The names that the result may have.
    var expected: Set<String>

    static let cut: Deed = { world, host in try world.lab("cut", host) }
    static let plug: Deed = { world, host in try world.lab("plug", host) }

    /// A rule of this machine's firewall, and its end.
    static func rule(_ verb: String, _ rule: String) -> Deed {
        { world, host in
            let address = try world.address(host)
            let arguments = rule.replacingOccurrences(of: "HOST", with: address).split(separator: " ").map(String.init)
            let outcome = try Child(["iptables-nft", "-w", "10", verb] + arguments).end()
            guard outcome.status == 0 else { throw LabFailure(description: "iptables \(rule): \(outcome.said)") }
        }
    }

    static func script(_ text: String) -> Deed { { world, host in try world.on(host, text) } }

    /// With this rule as long as it lasts.
    func ruled(_ rule: String) -> NetworkFault {
        var fault = self
        fault.strike = Self.rule("-I", rule)
        fault.heal = Self.rule("-D", rule)
        return fault
    }

    func unplugged() -> NetworkFault {
        var fault = self
        fault.strike = Self.cut
        fault.heal = Self.plug
        return fault
    }
}

extension World {
    func address(_ host: String) throws -> String {
        try String(contentsOfFile: "\(lab)/hosts/\(host)/address", encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
