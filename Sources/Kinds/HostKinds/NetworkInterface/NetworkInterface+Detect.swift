import ResourceModel
import Values

extension NetworkInterface {
    /// One answer for an interface's runtime state, and one more for its persistence where that is declared.
    static func detect(_ desired: [DesiredResource], _ facts: TargetFacts) -> [ResourceDrift] {
        let facts = HostFacts(facts)
        let links = Result { () throws(HostFacts.Unreadable) in try Self.links(in: facts) }
        return desired.flatMap { resource -> [ResourceDrift] in
            guard let interface = resource.fields["interface"]?.stringValue, isSafeName(interface), let settings = Settings(resource.fields) else {
                return [answer(resource, .problem(.invalid, "its fields can't be understood"))]
            }
            let isMissing = (try? links.get()).map { links in !links.contains { $0.name == interface } } ?? false
            if isMissing, resource.fields["missing"]?.stringValue == Missing.skip.rawValue {
                var drift = answer(resource, .inSync)
                drift.notes = ["there is no interface \(interface) on this host: skipped"]
                return [drift]
            }
            var answers: [ResourceDrift] = []
            if !settings.isEmpty { answers.append(detectRuntime(resource, interface: interface, settings: settings, links: links, facts: facts)) }
            if let persistence = detectPersistence(resource, interface: interface, settings: settings, facts: facts) { answers.append(persistence) }
            return answers
        }
        .sorted { $0.address < $1.address }
    }

    private static func detectRuntime(
        _ resource: DesiredResource,
        interface: String,
        settings: Settings,
        links: Result<[Link], HostFacts.Unreadable>,
        facts: HostFacts
    ) -> ResourceDrift {
        let all: [Link]
        switch links {
        case .failure(let reason): return answer(resource, reason.standing)
        case .success(let links): all = links
        }
        guard let link = all.first(where: { $0.name == interface }) else {
            let names = all.map(\.name).sorted().joined(separator: ", ")
            return answer(resource, .problem(.blocked, "there is no interface \(interface) on this host; it has \(names)"))
        }
        if let mtu = settings.mtu, let refusal = refusal(ofMTU: mtu, by: link) { return answer(resource, .problem(.invalid, refusal)) }

        var drift = answer(resource, .inSync)
        if let mtu = settings.mtu, mtu != link.mtu {
            drift.differences.append(FieldDifference(path: "mtu", observed: .int(Int64(link.mtu)), desired: .int(Int64(mtu))))
        }
        var holders: [String] = []
        for flag in Flag.allCases {
            guard let isOn = settings.flags[flag] else { continue }
            if link.isOn(flag) != isOn {
                drift.differences.append(FieldDifference(path: flag.path, observed: .bool(link.isOn(flag)), desired: .bool(isOn)))
            }
            // The flag is one user of several; off, it changes nothing as long as there are others.
            if !isOn, link.otherUsers(of: flag) > 0 {
                let state = flag == .promiscuous ? "promiscuous" : "receiving all multicast"
                holders.append("another user of \(interface) keeps it \(state) (a packet socket such as tcpdump's, or a bridge)")
            }
        }
        let carriers = carriers(of: all, facts: facts)
        drift.details = ["interface": .string(interface), "mayCarryConnection": .bool(carriers?.contains(interface) ?? true)]
        drift.fingerprint = fingerprint(of: link, settings: settings, details: drift.details)
        if !drift.differences.isEmpty {
            drift.standing = .differs
            drift.notes = holders
        } else if !holders.isEmpty {
            drift.standing = .problem(.held, "\(holders.joined(separator: "; ")); its own flag is off, as declared")
        }
        return drift
    }

    private static func refusal(ofMTU mtu: Int, by link: Link) -> String? {
        if let most = link.mostMTU, most > 0, mtu > most { return "an MTU of \(mtu) is more than \(link.name) takes: at most \(most)" }
        if let least = link.leastMTU, mtu < least { return "an MTU of \(mtu) is less than \(link.name) takes: at least \(least)" }
        return nil
    }

    /// The declared settings as they are, and whether the way to us leads through here. How many others use it is their business.
    private static func fingerprint(of link: Link, settings: Settings, details: Value) -> Value {
        var observed = Settings()
        for flag in settings.flags.keys { observed.flags[flag] = link.isOn(flag) }
        if settings.mtu != nil { observed.mtu = link.mtu }
        var value = observed.value
        value["mayCarryConnection"] = details["mayCarryConnection"]
        return value
    }

    private static func answer(_ resource: DesiredResource, _ standing: ResourceDrift.Standing) -> ResourceDrift {
        ResourceDrift(
            address: resource.address,
            kind: resource.kind,
            handler: resource.handler,
            standing: standing,
            dependsOn: resource.dependsOn,
            origins: resource.origins
        )
    }
}
