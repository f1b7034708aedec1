// Loaded before a mock: whatever address it asks for, it listens on loopback only.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
  if (typeof first === "object" && first !== null && "port" in first) {
    return listen.call(this, { ...first, host: "127.0.0.1" }, ...rest);
  }
  const port = Number(first);
  const callback = rest.find((value) => typeof value === "function");
  return listen.call(this, { port, host: "127.0.0.1" }, callback);
};
