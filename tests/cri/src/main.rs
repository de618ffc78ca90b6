//! A client of the Container Runtime Interface that does what a kubelet does to a pod's sandbox:
//!
//! ```text
//! cri SOCKET run NAME [host-network] [HOST-PORT:CONTAINER-PORT] [ANNOTATION=VALUE]   prints the sandbox's id
//! cri SOCKET address ID                            prints its addresses
//! cri SOCKET start ID IMAGE NAME COMMAND...        starts a container in it, prints the container's id
//! cri SOCKET pid CONTAINER                         prints the container's pid
//! cri SOCKET stop ID                               stops the sandbox, and with it its network
//! cri SOCKET remove ID
//! ```

use std::collections::HashMap;
use std::error::Error;

use hyper_util::rt::TokioIo;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerStatusRequest, CreateContainerRequest, ImageSpec,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxStatusRequest, PortMapping, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopPodSandboxRequest,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [socket, command @ ..] = &words[..] else { return Err("cri SOCKET COMMAND".into()) };
    let mut client = connect((*socket).to_owned()).await?;
    match command {
        ["run", name, words @ ..] => {
            let config = Some(sandbox(name, words)?);
            let request = RunPodSandboxRequest { config, runtime_handler: String::new() };
            println!("{}", client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id);
        }
        ["address", id] => {
            let request = PodSandboxStatusRequest { pod_sandbox_id: (*id).to_owned(), verbose: false };
            let status = client.pod_sandbox_status(request).await?.into_inner().status;
            let network = status.and_then(|status| status.network).ok_or("no network")?;
            println!("{}", network.ip);
            network.additional_ips.iter().for_each(|other| println!("{}", other.ip));
        }
        ["start", id, image, name, command @ ..] => {
            let request = CreateContainerRequest {
                pod_sandbox_id: (*id).to_owned(),
                config: Some(container(image, name, command)),
                sandbox_config: Some(sandbox("", &[])?),
            };
            let container_id = client.create_container(request).await?.into_inner().container_id;
            client.start_container(StartContainerRequest { container_id: container_id.clone() }).await?;
            println!("{container_id}");
        }
        ["pid", container] => {
            let request = ContainerStatusRequest { container_id: (*container).to_owned(), verbose: true };
            let info = client.container_status(request).await?.into_inner().info;
            let info = info.get("info").ok_or("no info")?;
            let pid = info.split("\"pid\":").nth(1).ok_or("no pid")?;
            println!("{}", pid.chars().skip_while(|c| *c == ' ').take_while(char::is_ascii_digit).collect::<String>());
        }
        ["stop", id] => {
            client.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: (*id).to_owned() }).await?;
        }
        ["remove", id] => {
            client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: (*id).to_owned() }).await?;
        }
        _ => return Err("there is no such command".into()),
    }
    Ok(())
}

async fn connect(socket: String) -> Result<RuntimeServiceClient<Channel>> {
    let connect = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    let channel = Endpoint::try_from("http://socket")?.connect_with_connector(connect).await?;
    Ok(RuntimeServiceClient::new(channel))
}

fn sandbox(name: &str, words: &[&str]) -> Result<PodSandboxConfig> {
    let (mut port_mappings, mut annotations) = (Vec::new(), HashMap::new());
    let mut security_context = LinuxSandboxSecurityContext::default();
    for port in words {
        if *port == "host-network" {
            let network = NamespaceMode::Node.into();
            security_context.namespace_options = Some(NamespaceOption { network, ..NamespaceOption::default() });
            continue;
        }
        if let Some((key, value)) = port.split_once('=') {
            annotations.insert(key.to_owned(), value.to_owned());
            continue;
        }
        let (host, inside) = port.split_once(':').ok_or("a port is HOST-PORT:CONTAINER-PORT")?;
        port_mappings.push(PortMapping {
            protocol: 0,
            container_port: inside.parse()?,
            host_port: host.parse()?,
            host_ip: String::new(),
        });
    }
    let metadata = PodSandboxMetadata {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        namespace: "default".to_owned(),
        attempt: 0,
    };
    Ok(PodSandboxConfig {
        metadata: Some(metadata),
        // On the host's network it has the host's name too.
        hostname: if security_context.namespace_options.is_none() { name.to_owned() } else { String::new() },
        log_directory: String::new(),
        dns_config: None,
        port_mappings,
        labels: HashMap::new(),
        annotations,
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(security_context),
            ..LinuxPodSandboxConfig::default()
        }),
        windows: None,
    })
}

fn container(image: &str, name: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..ContainerConfig::default()
    }
}
